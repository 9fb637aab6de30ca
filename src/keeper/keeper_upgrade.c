/*
 * Upgrading while the mount stands.
 *
 *	rendering   The program that is at the path now loads the configuration files, as root, and
 *	            writes the effective configuration. This also checks that it runs at all.
 *	standby     Its worker prepares beside the old one: configuration loaded, catalog checked,
 *	            INIT replayed, sandbox entered.
 *	handover    The old worker takes no more requests, answers those that it has, and ends.
 *	takeover    The new worker opens the store and serves; then the keeper executes the new
 *	            program.
 *
 * A failure before the handover changes nothing. If the new worker dies before it serves, the
 * keeper starts one of the old program.
 *
 * Runs in the keeper, with the rights of the user who started rptfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "keeper/keeper_internal.h"

#define RENDER_MS   30000
#define STANDBY_MS  30000
#define HANDOVER_MS 5000

static void enter(struct keeper_upgrade *upgrade, enum upgrade_step step, int64_t limit_ms)
{
	upgrade->step = step;
	upgrade->deadline_ms = clock_awake_ms() + limit_ms;
}

/* If a disk does not answer, the process may take long to end. It is reaped when it ends. */
static void kill_process(pid_t *pid)
{
	if (*pid)
		kill(*pid, SIGKILL);
	*pid = 0;
}

static void release(struct keeper_upgrade *upgrade)
{
	kill_process(&upgrade->renderer);
	kill_process(&upgrade->standby.pid);
	keeper_forget_worker(&upgrade->standby);
	close_cleanup(&upgrade->asker);
	close_cleanup(&upgrade->exe);
	close_cleanup(&upgrade->config);
	close_cleanup(&upgrade->errors);
	*upgrade = (struct keeper_upgrade)KEEPER_NO_UPGRADE;
}

void keeper_upgrade_refuse(struct keeper *keeper, const char *reason)
{
	log_event(LOG_LEVEL_WARNING, "upgrade_refused", LOG_STR("reason", reason));
	if (keeper->upgrade.asker >= 0 && keeper->worker.channel >= 0)
		channel_send_text(keeper->worker.channel, CHANNEL_REFUSED, keeper->upgrade.asker,
				  reason);
	release(&keeper->upgrade);
}

/* ------------------------------------------------------------------ rendering */

static int start_rendering(struct keeper *keeper, struct err *err)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;

	upgrade->exe = open(keeper->state->program, O_PATH | O_CLOEXEC);
	if (upgrade->exe < 0)
		return err_errno(err, "%s", keeper->state->program);
	upgrade->config = memfd_create("rptfs-configuration", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	upgrade->errors = memfd_create("rptfs-upgrade", MFD_CLOEXEC);
	if (upgrade->config < 0 || upgrade->errors < 0)
		return err_errno(err, "memfd");
	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d,%d", upgrade->config,
		 keeper->state->config);
	struct child_start start = {
		.program = upgrade->exe,
		.argv = keeper->commands->render,
		.inherited = { upgrade->config, keeper->state->config },
		.errors = upgrade->errors,
	};
	upgrade->renderer = child_start(&start, err);
	if (upgrade->renderer < 0) {
		upgrade->renderer = 0;
		return -1;
	}
	enter(upgrade, UPGRADE_RENDERING, RENDER_MS);
	return 0;
}

void keeper_upgrade_begin(struct keeper *keeper, int asker)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;
	struct err err = ERR_INIT;
	const char *reason = NULL;

	if (upgrade->step != UPGRADE_NONE)
		reason = "an upgrade is already in progress";
	else if (keeper->stopping || keeper->worker.serving_ms == NEVER)
		reason = "no worker is serving";
	if (reason) {
		if (asker >= 0 && keeper->worker.channel >= 0)
			channel_send_text(keeper->worker.channel, CHANNEL_REFUSED, asker, reason);
		close_cleanup(&asker);
		return;
	}
	upgrade->asker = asker;
	if (start_rendering(keeper, &err) < 0)
		keeper_upgrade_refuse(keeper, err.msg);
}

/* Reads the first line of its standard error. */
static void read_reason(int errors, int wait_status, char ret[ERR_MSG_SIZE])
{
	char how[CHILD_END_SIZE];
	ssize_t n = pread(errors, ret, ERR_MSG_SIZE - 1, 0);

	ret[n < 0 ? 0 : n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	if (!*ret)
		snprintf(ret, ERR_MSG_SIZE, "the new program ended with %s",
			 child_end(wait_status, how));
}

void keeper_upgrade_rendered(struct keeper *keeper, int wait_status)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;
	char reason[ERR_MSG_SIZE];
	struct err err = ERR_INIT;

	upgrade->renderer = 0;
	if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) {
		read_reason(upgrade->errors, wait_status, reason);
		keeper_upgrade_refuse(keeper, reason);
		return;
	}
	if (keeper_start_worker(keeper, &upgrade->standby, upgrade->exe, upgrade->config, true,
				&err) < 0) {
		keeper_upgrade_refuse(keeper, err.msg);
		return;
	}
	enter(upgrade, UPGRADE_STANDBY, STANDBY_MS);
}

/* ------------------------------------------------------------------ standby, handover, takeover */

static void hand_over(struct keeper *keeper)
{
	if (channel_send(keeper->worker.channel, CHANNEL_HANDOVER, -1) < 0) {
		keeper_upgrade_refuse(keeper, "the old worker has just died");
		return;
	}
	keeper->worker.is_leaving = true;
	enter(&keeper->upgrade, UPGRADE_HANDOVER, HANDOVER_MS);
}

bool keeper_upgrade_read_standby(struct keeper *keeper)
{
	_cleanup_(channel_message_release) struct channel_message message;
	struct keeper_worker *standby = &keeper->upgrade.standby;
	char kind[KEEPER_KIND_SIZE];

	channel_receive(standby->channel, CHANNEL_DOES_NOT_WAIT, &message);
	switch (message.type) {
	case CHANNEL_STANDBY:
		keeper->upgrade.is_of_our_kind = strcmp(message.text, keeper_kind(kind)) == 0;
		if (keeper->upgrade.step == UPGRADE_STANDBY && standby->pid)
			hand_over(keeper);
		break;
	case CHANNEL_ALIVE:
		standby->alive_ms = clock_awake_ms();
		break;
	case CHANNEL_HELPER:
		keeper_start_helper(keeper, standby, HELPER_OPENER, message.fds[0]);
		break;
	case CHANNEL_EXECUTOR:
		keeper_start_helper(keeper, standby, HELPER_EXECUTOR, message.fds[0]);
		break;
	case CHANNEL_VISITOR:
		keeper_start_visitor(keeper, standby, message.fds[0]);
		break;
	case CHANNEL_UNFIT:
	case CHANNEL_FAILED:
		memcpy(standby->reason, message.text, sizeof(standby->reason));
		break;
	case CHANNEL_END:
		close(steal_fd(&standby->channel)); /* SIGCHLD follows */
		break;
	case CHANNEL_HELLO:
	case CHANNEL_PREPARED:
	case CHANNEL_DEVICE:
	case CHANNEL_SERVING:
	case CHANNEL_READY:
	case CHANNEL_GO:
	case CHANNEL_UPGRADE:
	case CHANNEL_UNMOUNTED:
	case CHANNEL_REFUSED:
	case CHANNEL_REPORT:
	case CHANNEL_HANDOVER:
	case CHANNEL_DETACHED:
		break;
	case CHANNEL_NOTHING:
		return false;
	}
	return true;
}

void keeper_upgrade_standby_died(struct keeper *keeper, int wait_status)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;
	char reason[ERR_MSG_SIZE], how[CHILD_END_SIZE];

	upgrade->standby.pid = 0;
	while (upgrade->standby.channel >= 0 && keeper_upgrade_read_standby(keeper))
		;
	memcpy(reason, upgrade->standby.reason, sizeof(reason));
	if (!*reason)
		snprintf(reason, sizeof(reason), "the new worker ended with %s",
			 child_end(wait_status, how));
	/* In the handover the old worker ends. The keeper then starts another one of its kind. */
	keeper_upgrade_refuse(keeper, reason);
}

static void swap_fds(int *a, int *b)
{
	int kept = *a;

	*a = *b;
	*b = kept;
}

bool keeper_upgrade_handed_over(struct keeper *keeper)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;

	if (upgrade->step != UPGRADE_HANDOVER)
		return false;
	keeper_forget_worker(&keeper->worker);
	keeper->worker = upgrade->standby;
	upgrade->standby = (struct keeper_worker)KEEPER_NO_WORKER;
	swap_fds(&keeper->state->exe, &upgrade->exe);
	swap_fds(&keeper->state->config, &upgrade->config);
	channel_send(keeper->worker.channel, CHANNEL_GO, -1);
	upgrade->step = UPGRADE_TAKEOVER;
	upgrade->deadline_ms = NEVER; /* from now on its signs of life count */
	return true;
}

bool keeper_upgrade_goes_back(struct keeper *keeper, int wait_status)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;
	char how[CHILD_END_SIZE];
	const char *own = keeper->worker.reason;
	const char *reason = *own ? own : child_end(wait_status, how);

	if (upgrade->step != UPGRADE_TAKEOVER)
		return false;
	log_event(LOG_LEVEL_ERROR, "upgrade_failed", LOG_STR("reason", reason),
		  LOG_STR("next", "the old program"));
	swap_fds(&keeper->state->exe, &upgrade->exe);
	swap_fds(&keeper->state->config, &upgrade->config);
	keeper->start_ms = clock_awake_ms();
	release(upgrade);
	return true;
}

/* ------------------------------------------------------------------ executing the new keeper */

/* Returns only if it fails. */
static int become(struct keeper *keeper, struct err *err)
{
	struct keeper_state *state = keeper->state;
	_cleanup_close_ int fd = memfd_create("rptfs-keeper", MFD_CLOEXEC);
	const int fds[] = {
		state->config,
		state->store,
		state->control,
		state->place,
		state->user_lock,
		state->inflight,
		state->device,
		state->handle,
		state->machine,
		state->exe,
		state->channel,
		state->asker,
		fd,
	};

	if (fd < 0 || write(fd, state, sizeof(*state)) != sizeof(*state) ||
	    lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(err, "memfd");
	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d", fd);
	if (child_inherits(fds, ARRAY_SIZE(fds), err) == 0)
		child_exec(state->exe, keeper->commands->keeper, err);
	struct err ignored = ERR_INIT;
	child_inherits(NULL, 0, &ignored);
	return -1;
}

void keeper_upgrade_report(struct keeper *keeper)
{
	struct keeper_state *state = keeper->state;
	struct channel_report report;

	memcpy(report.previous, state->previous, sizeof(report.previous));
	build_version(report.keeper_version);
	log_event(LOG_LEVEL_INFO, "upgraded", LOG_STR("from", report.previous),
		  LOG_STR("keeper", report.keeper_version),
		  LOG_INT("worker_pid", keeper->worker.pid));
	channel_send_report(keeper->worker.channel, state->asker, &report);
	close_cleanup(&state->asker);
	state->asker = -1;
	state->is_upgrade = false;
}

void keeper_upgrade_finish(struct keeper *keeper)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;
	struct keeper_state *state = keeper->state;
	struct err err = ERR_INIT;

	/* If the worker has died since it sent that, the upgrade fails. */
	if (upgrade->step != UPGRADE_TAKEOVER || !keeper->worker.pid)
		return;
	state->is_upgrade = true;
	state->asker = steal_fd(&upgrade->asker);
	state->worker = keeper->worker.pid;
	state->channel = keeper->worker.channel;
	memcpy(state->helpers, keeper->worker.helpers, sizeof(state->helpers));
	state->visitor = keeper->worker.visitor;
	build_version(state->previous);
	bool is_of_our_kind = upgrade->is_of_our_kind;
	release(upgrade);
	if (is_of_our_kind)
		become(keeper, &err);
	else
		err_set(&err, ERR_CONFIG,
			"the new keeper cannot take over; restart rptfs to replace the old one");
	keeper_log_error("keeper_not_replaced", err.msg);
	keeper_upgrade_report(keeper);
}

const char *keeper_kind(char ret[KEEPER_KIND_SIZE])
{
	snprintf(ret, KEEPER_KIND_SIZE, "%d of %zu bytes", KEEPER_STATE_VERSION,
		 sizeof(struct keeper_state));
	return ret;
}

bool keeper_inherit(int fd, struct keeper_state *ret)
{
	_cleanup_close_ int owned = fd;

	return read(owned, ret, sizeof(*ret)) == sizeof(*ret) &&
	       ret->version == KEEPER_STATE_VERSION && ret->size_bytes == sizeof(*ret);
}

/* ------------------------------------------------------------------ deadlines */

void keeper_upgrade_extend(struct keeper *keeper, int64_t more_ms)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;

	if (upgrade->step != UPGRADE_NONE && upgrade->deadline_ms != NEVER)
		upgrade->deadline_ms += more_ms;
}

void keeper_upgrade_check_deadline(struct keeper *keeper)
{
	struct keeper_upgrade *upgrade = &keeper->upgrade;

	if (upgrade->step == UPGRADE_NONE || clock_awake_ms() < upgrade->deadline_ms)
		return;
	if (upgrade->step == UPGRADE_HANDOVER) {
		/* The new worker finds the requests that are still unanswered. */
		upgrade->deadline_ms = NEVER;
		kill(keeper->worker.pid, SIGKILL);
		return;
	}
	keeper_upgrade_refuse(keeper,
			      upgrade->step == UPGRADE_RENDERING
				      ? "the new program did not load the configuration in time"
				      : "the new worker was not ready in time");
}
