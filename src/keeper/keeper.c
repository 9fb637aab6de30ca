#include "keeper/keeper.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/daemonize.h"
#include "base/log.h"
#include "base/util.h"
#include "keeper/control_socket.h"
#include "keeper/keeper_internal.h"
#include "keeper/machine_namespace.h"
#include "keeper/mountpoint.h"
#include "keeper/store_memory.h"
#include "keeper/systemd.h"

/* A worker that sends no sign of life for so long is killed. The time begins anew if the keeper
 * itself was stopped for more than KEEPER_PAUSE_MS: the worker may have been stopped as well. */
#define SILENCE_MAX_MS	10000
#define KEEPER_PAUSE_MS (3 * CHANNEL_ALIVE_MS)

/* How long to wait before the next try if a worker cannot be started. */
#define START_RETRY_MS 5000

/* How long umount(8) may take from the end of the connection to the end of the mount. */
#define UNMOUNT_MS 1000

/* Time limits for ending, before a process is killed: of the worker (it closes the store, and the
 * disk may be busy), then of the helper and the visitor. */
#define WORKER_END_MS 2500
#define OTHERS_END_MS 200

static void report_outcome(struct keeper *keeper, int code)
{
	uint8_t byte = (uint8_t)code;

	if (keeper->ready_fd < 0)
		return;
	daemonize_detach();
	keeper->state->is_detached = true;
	if (write(keeper->ready_fd, &byte, 1) != 1) {
		/* The parent has ended, and needs no exit code. */
	}
	close(steal_fd(&keeper->ready_fd));
}

/* ------------------------------------------------------------------ messages of the worker */

/* The first worker is prepared. */
static void give_device(struct keeper *keeper)
{
	struct err err = ERR_INIT;

	if (keeper_mount(keeper, &err) < 0) {
		keeper_log_error("mount_failed", err.msg);
		keeper->is_over = true;
		keeper->code = KEEPER_MOUNT_FAILED;
		return;
	}
	channel_send(keeper->worker.channel, CHANNEL_DEVICE, keeper->state->device);
}

/* Does nothing while the mount is attached. */
static void report_detached(struct keeper *keeper)
{
	if (keeper->is_detached && keeper->worker.channel >= 0)
		channel_send(keeper->worker.channel, CHANNEL_DETACHED, -1);
}

static void note_serving(struct keeper *keeper)
{
	keeper->worker.serving_ms = clock_awake_ms();
	keeper_upgrade_finish(keeper);
	report_detached(keeper); /* it may have started before the mount was detached */
}

static void note_ready(struct keeper *keeper)
{
	keeper->was_ready = true;
	report_outcome(keeper, KEEPER_OK);
	systemd_ready();
}

static void note_alive(struct keeper *keeper)
{
	keeper->worker.alive_ms = clock_awake_ms();
	systemd_alive();
	if (keeper->state->restarts == 0)
		systemd_extend_start();
}

/* Returns false if there is no message. */
static bool read_channel(struct keeper *keeper)
{
	_cleanup_(channel_message_release) struct channel_message message;
	struct keeper_worker *worker = &keeper->worker;

	channel_receive(worker->channel, CHANNEL_DOES_NOT_WAIT, &message);
	switch (message.type) {
	case CHANNEL_PREPARED:
		give_device(keeper);
		break;
	case CHANNEL_SERVING:
		note_serving(keeper);
		break;
	case CHANNEL_READY:
		note_ready(keeper);
		break;
	case CHANNEL_ALIVE:
		note_alive(keeper);
		break;
	case CHANNEL_HELPER:
		keeper_start_helper(keeper, worker, HELPER_OPENER, message.fds[0]);
		break;
	case CHANNEL_EXECUTOR:
		keeper_start_helper(keeper, worker, HELPER_EXECUTOR, message.fds[0]);
		break;
	case CHANNEL_VISITOR:
		keeper_start_visitor(keeper, worker, message.fds[0]);
		break;
	case CHANNEL_UPGRADE:
		keeper_upgrade_begin(keeper, steal_fd(&message.fds[0]));
		break;
	case CHANNEL_UNMOUNTED:
		worker->is_unmounted = true;
		break;
	case CHANNEL_UNFIT:
		worker->is_unfit = true;
		memcpy(worker->reason, message.text, sizeof(worker->reason));
		break;
	case CHANNEL_FAILED:
		memcpy(worker->reason, message.text, sizeof(worker->reason));
		break;
	case CHANNEL_END:
		close(steal_fd(&worker->channel)); /* SIGCHLD follows */
		break;
	case CHANNEL_HELLO:
	case CHANNEL_DEVICE:
	case CHANNEL_STANDBY:
	case CHANNEL_GO:
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

/* ------------------------------------------------------------------ the death of the worker */

static void log_death(struct keeper *keeper, pid_t pid, int wait_status, int64_t delay_ms)
{
	char end[CHILD_END_SIZE];
	const char *reason = keeper->worker.reason;

	log_event(LOG_LEVEL_ERROR, "worker_died", LOG_INT("pid", pid),
		  LOG_STR("by", child_end(wait_status, end)),
		  LOG_STR("reason", *reason ? reason : NULL), LOG_INT("next_in_ms", delay_ms),
		  LOG_INT("restarts", keeper->state->restarts));
}

/* There is no mount to keep alive, or the start has failed. */
static bool is_the_end(const struct keeper *keeper, int wait_status)
{
	if (keeper->state->device < 0 || keeper->worker.is_unmounted)
		return true;
	return WIFEXITED(wait_status) && !keeper->was_ready;
}

/* The worker has handed over to another one that died meanwhile. */
static bool has_left_in_vain(const struct keeper_worker *worker, int wait_status)
{
	return worker->is_leaving && WIFEXITED(wait_status) && !WEXITSTATUS(wait_status);
}

/* umount -f aborts the connection too, and unmounts at once. */
static bool was_aborted(const struct keeper *keeper)
{
	const struct keeper_state *state = keeper->state;
	int64_t deadline_ms = clock_awake_ms() + UNMOUNT_MS, left_ms;

	if (!keeper->worker.is_unmounted || keeper->is_detached || keeper->mounts < 0)
		return false;
	while (mountpoint_is_mounted(keeper->mounts, state->number, NULL)) {
		struct pollfd pfd = { .fd = keeper->mounts, .events = POLLPRI };

		if ((left_ms = deadline_ms - clock_awake_ms()) <= 0)
			return true;
		poll(&pfd, 1, (int)left_ms);
	}
	return false;
}

static void end_with_worker(struct keeper *keeper, pid_t pid, int wait_status)
{
	keeper->is_over = true;
	keeper->code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : KEEPER_FAILED;
	if (WIFSIGNALED(wait_status))
		log_death(keeper, pid, wait_status, 0);
	if (keeper->code == KEEPER_OK && was_aborted(keeper)) {
		log_event(LOG_LEVEL_ERROR, "aborted",
			  LOG_STR("mountpoint", keeper->state->mountpoint),
			  LOG_STR("reason", "the FUSE connection was aborted from outside"));
		keeper->code = KEEPER_ABORTED;
	}
}

static void schedule_next(struct keeper *keeper, pid_t pid, int wait_status)
{
	struct err err = ERR_INIT;

	keeper->state->restarts++;
	if (keeper_upgrade_goes_back(keeper, wait_status))
		return;
	int64_t delay_ms = keeper_restart_delay(keeper, wait_status);
	log_death(keeper, pid, wait_status, delay_ms);
	keeper->start_ms = clock_awake_ms() + delay_ms;
	if (!keeper->worker.is_unfit && !keeper->set_aside)
		return;
	/* A new store has no record of the nodes that the kernel holds. */
	if (keeper->is_detached)
		keeper->is_over = true;
	else if (keeper_mount_anew(keeper, &err) < 0)
		keeper_log_error("mount_failed", err.msg);
}

static void worker_died(struct keeper *keeper, int wait_status)
{
	struct keeper_worker *worker = &keeper->worker;
	pid_t pid = worker->pid;

	worker->pid = 0; /* it is reaped: another process may get the number */
	/* Read its last messages. End of file may not come, because a child of the worker may hold
	 * the channel. */
	while (worker->channel >= 0 && read_channel(keeper))
		;
	if (keeper_upgrade_handed_over(keeper))
		return;
	if (!keeper->stopping && has_left_in_vain(worker, wait_status))
		keeper->start_ms = clock_awake_ms();
	else if (!keeper->stopping && is_the_end(keeper, wait_status))
		end_with_worker(keeper, pid, wait_status);
	else if (!keeper->stopping)
		schedule_next(keeper, pid, wait_status);
	keeper_forget_worker(worker);
}

/* ------------------------------------------------------------------ signals */

static int block_signals(struct keeper *keeper, struct err *err)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2 };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaddset(&set, numbers[i]);
	keeper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	/* SIGPIPE is blocked and never read: the mount must survive the end of a reader of the
	 * log. */
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (keeper->signals < 0)
		return err_errno(err, "signalfd");
	return 0;
}

static void forget(pid_t *kept, pid_t ended)
{
	if (*kept == ended)
		*kept = 0;
}

static void reap(struct keeper *keeper)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == keeper->worker.pid)
			worker_died(keeper, status);
		else if (pid == keeper->upgrade.standby.pid)
			keeper_upgrade_standby_died(keeper, status);
		else if (pid == keeper->upgrade.renderer)
			keeper_upgrade_rendered(keeper, status);
		for (size_t role = 0; role < HELPER_ROLES; role++) {
			forget(&keeper->worker.helpers[role], pid);
			forget(&keeper->helpers[role], pid);
		}
		forget(&keeper->worker.visitor, pid);
	}
}

static void take_signal(struct keeper *keeper, uint32_t number)
{
	switch (number) {
	case SIGCHLD:
		reap(keeper);
		break;
	case SIGUSR1:
		/* Unmount, unless the service manager keeps the mount. */
		keeper->leaving = systemd_stores_mount();
		keeper->stopping = true;
		break;
	case SIGUSR2:
		keeper_upgrade_begin(keeper, -1);
		break;
	default:
		keeper->stopping = true;
		break;
	}
}

static void read_signals(struct keeper *keeper)
{
	struct signalfd_siginfo info;

	while (read(keeper->signals, &info, sizeof(info)) == sizeof(info))
		take_signal(keeper, info.ssi_signo);
}

/* ------------------------------------------------------------------ the loop */

static void start_next(struct keeper *keeper)
{
	struct keeper_state *state = keeper->state;
	struct err err = ERR_INIT;

	keeper->start_ms = NEVER;
	/* If the kernel has ended the connection, another worker would have nothing to serve. */
	if (state->device >= 0 && !mountpoint_is_connected(state->device)) {
		keeper->is_over = true;
		return;
	}
	systemd_alive(); /* a restart of the keeper would not end a crash loop */
	if (keeper_start_worker(keeper, &keeper->worker, state->exe, state->config, false, &err) <
	    0) {
		keeper_log_error("worker_not_started", err.msg);
		keeper->start_ms = clock_awake_ms() + START_RETRY_MS;
		return;
	}
	keeper->set_aside = false;
}

static void kill_if_silent(struct keeper *keeper, int64_t now_ms)
{
	struct keeper_worker *worker = &keeper->worker;

	if (!worker->pid || keeper->state->is_debugged ||
	    now_ms - worker->alive_ms < SILENCE_MAX_MS)
		return;
	log_event(LOG_LEVEL_ERROR, "worker_hangs", LOG_INT("pid", worker->pid),
		  LOG_INT("silent_for_ms", now_ms - worker->alive_ms));
	worker->alive_ms = now_ms; /* SIGCHLD follows */
	kill(worker->pid, SIGKILL);
}

static void allow_for_pause(struct keeper *keeper, int64_t now_ms)
{
	int64_t pause_ms = now_ms - keeper->checked_ms;

	keeper->checked_ms = now_ms;
	if (pause_ms <= KEEPER_PAUSE_MS)
		return;
	keeper->worker.alive_ms = now_ms;
	keeper_upgrade_extend(keeper, pause_ms);
}

static void check_worker(struct keeper *keeper)
{
	int64_t now_ms = clock_awake_ms();

	allow_for_pause(keeper, now_ms);
	if (now_ms >= keeper->start_ms)
		start_next(keeper);
	kill_if_silent(keeper, now_ms);
}

/* After an umount(8) the handle still holds the connection. Once the handle is closed, the
 * kernel ends the connection with the last open file. */
static void check_mount(struct keeper *keeper)
{
	const struct keeper_state *state = keeper->state;
	bool is_read_only = false;

	if (state->device < 0 || keeper->is_detached || keeper->stopping)
		return;
	if (mountpoint_is_mounted(keeper->mounts, state->number, &is_read_only)) {
		if (is_read_only)
			keeper_restore_renames(keeper);
		return;
	}
	keeper->is_detached = true;
	keeper_close_handle(keeper);
	report_detached(keeper);
}

/* Handles the next event; timeout_ms: -1 for none. */
static void wait_once(struct keeper *keeper, int timeout_ms)
{
	struct pollfd pfds[] = {
		{ .fd = keeper->signals, .events = POLLIN },
		{ .fd = keeper->worker.channel, .events = POLLIN }, /* ignored if negative */
		{ .fd = keeper->upgrade.standby.channel, .events = POLLIN },
		{ .fd = keeper->mounts, .events = POLLPRI },
	};

	if (poll(pfds, ARRAY_SIZE(pfds), timeout_ms) <= 0)
		return;
	if (pfds[1].revents)
		read_channel(keeper);
	if (pfds[2].revents && keeper->upgrade.standby.channel >= 0)
		keeper_upgrade_read_standby(keeper);
	if (pfds[0].revents)
		read_signals(keeper);
	if (pfds[3].revents)
		check_mount(keeper);
}

/* Signs of life are checked as often as they are sent. */
static int next_timeout(const struct keeper *keeper)
{
	int64_t now_ms = clock_awake_ms();
	int64_t next_ms = now_ms + CHANNEL_ALIVE_MS;

	if (keeper->start_ms < next_ms)
		next_ms = keeper->start_ms;
	return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

static void run(struct keeper *keeper)
{
	while (!keeper->stopping && !keeper->is_over) {
		check_worker(keeper);
		keeper_upgrade_check_deadline(keeper);
		wait_once(keeper, next_timeout(keeper));
	}
}

/* ------------------------------------------------------------------ the end */

static bool worker_ends(struct keeper *keeper, int limit_ms)
{
	int64_t deadline = clock_awake_ms() + limit_ms;
	int64_t left;

	while (keeper->worker.pid && (left = deadline - clock_awake_ms()) > 0)
		wait_once(keeper, (int)left);
	return !keeper->worker.pid;
}

static void end_worker(struct keeper *keeper)
{
	if (!keeper->worker.pid)
		return;
	if (keeper->state->device < 0 && keeper->worker.channel >= 0)
		close(steal_fd(&keeper->worker.channel)); /* it waits for the device */
	kill(keeper->worker.pid, SIGTERM);
	if (worker_ends(keeper, WORKER_END_MS))
		return;
	keeper_log_error("worker_killed", "it did not end in time");
	kill(keeper->worker.pid, SIGKILL);
	if (!worker_ends(keeper, WORKER_END_MS))
		keeper_log_error("worker_left", "it waits for a disk that does not answer");
}

static bool has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Helper, visitor and notifiers end by themselves once the worker has ended. */
static void end_others(struct keeper *keeper)
{
	int64_t deadline = clock_awake_ms() + OTHERS_END_MS;
	int64_t left;

	while (has_children() && (left = deadline - clock_awake_ms()) > 0)
		wait_once(keeper, (int)left);
	/* They may wait for a dead file server. */
	for (size_t role = 0; role < HELPER_ROLES; role++) {
		if (keeper->helpers[role])
			kill(keeper->helpers[role], SIGKILL);
	}
}

/* The mount disappears before the worker does, so that no program finds a dead mount. */
static void unmount(struct keeper *keeper)
{
	keeper_unmount(keeper->state);
	keeper->is_detached = true;
	keeper_close_handle(keeper);
	report_detached(keeper);
}

static void remove_traces(struct keeper_state *state)
{
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;
	struct err ignored = ERR_INIT;

	machine_namespace_enter(&visit, &ignored); /* else the next start removes what is left */
	systemd_drop_mount();
	systemd_drop_store();
	control_socket_remove(state->control_path);
	if (*state->memory_dir)
		store_memory_remove(state->memory_dir);
}

static void end(struct keeper *keeper)
{
	keeper->stopping = true;
	systemd_stopping();
	if (keeper->upgrade.step != UPGRADE_NONE)
		keeper_upgrade_refuse(keeper, "rptfs is being stopped");
	if (keeper->leaving)
		keeper_close_handle(keeper);
	else
		unmount(keeper);
	end_worker(keeper);
	end_others(keeper);
	if (!keeper->leaving)
		remove_traces(keeper->state);
}

static void release(struct keeper *keeper)
{
	struct keeper_state *state = keeper->state;
	int *const fds[] = {
		&keeper->signals, &keeper->mounts, &state->config,    &state->store,
		&state->control,  &state->place,   &state->user_lock, &state->inflight,
		&state->device,	  &state->handle,  &state->machine,   &state->exe,
	};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close_cleanup(fds[i]);
}

/* ------------------------------------------------------------------ the start */

/* Keeps the capabilities to mount, to start processes as another user and to end them, to find a
 * mount point in a directory that only its owner may enter, and to enter the machine's mount
 * namespace if that is another one. The bounding set stays: executors run with all the rights of
 * the user who started rptfs, and get them back when they are executed. */
static int limit_capabilities(struct err *err)
{
	static const unsigned kept[] = { CAP_SYS_ADMIN, CAP_SETUID,	     CAP_SETGID,
					 CAP_KILL,	CAP_DAC_READ_SEARCH, CAP_SYS_CHROOT };
	bool has[ARRAY_SIZE(kept)];

	if (capng_get_caps_process() < 0)
		return err_errno(err, "reading the capabilities");
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		has[i] = (kept[i] != CAP_SYS_CHROOT || machine_namespace_is_other()) &&
			 capng_have_capability(CAPNG_PERMITTED, kept[i]);
	capng_clear(CAPNG_SELECT_CAPS);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		if (has[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]);
	}
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return err_errno(err, "dropping capabilities");
	return 0;
}

/* It may have been detached before this keeper began to watch the table of mounts. */
static void adopt_mount(struct keeper *keeper)
{
	const struct keeper_state *state = keeper->state;

	/* The number of a connection that is over may be another mount's by now. */
	keeper->is_detached = !mountpoint_is_connected(state->device) ||
			      !mountpoint_is_mounted(keeper->mounts, state->number, NULL);
	if (keeper->is_detached)
		keeper_close_handle(keeper);
	else
		keeper_adopt_mount(keeper->state);
}

/* Takes over the worker of the keeper that has executed this one. */
static void adopt_worker(struct keeper *keeper)
{
	int64_t now_ms = clock_awake_ms();

	keeper->worker = (struct keeper_worker){
		.pid = keeper->state->worker,
		.channel = keeper->state->channel,
		.alive_ms = now_ms,
		.serving_ms = now_ms,
		.exe = keeper->state->exe,
		.config = keeper->state->config,
		.visitor = keeper->state->visitor,
	};
	memcpy(keeper->worker.helpers, keeper->state->helpers, sizeof(keeper->state->helpers));
	memcpy(keeper->helpers, keeper->state->helpers, sizeof(keeper->state->helpers));
	keeper->start_ms = NEVER;
	systemd_ready(); /* records that the start is over */
	report_detached(keeper);
	keeper_upgrade_report(keeper);
	reap(keeper); /* a SIGCHLD from before the signalfd may be lost */
}

static void begin(struct keeper *keeper)
{
	struct err err = ERR_INIT;

	prctl(PR_SET_NAME, "rptfs-keeper");
	/* A notifier may outlive its worker. It is reaped here, in case init does not do it. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	control_socket_claim(keeper->state->control);
	if (limit_capabilities(&err) < 0 || child_inherits(NULL, 0, &err) < 0 ||
	    block_signals(keeper, &err) < 0) {
		keeper_log_error("start_failed", err.msg);
		keeper->is_over = true;
		keeper->code = KEEPER_FAILED;
	}
	if (keeper->state->device >= 0) {
		/* A failed start does not end a mount that exists. */
		keeper->was_ready = true;
		adopt_mount(keeper);
	}
	if (keeper->state->is_upgrade && !keeper->is_over)
		adopt_worker(keeper);
	if (!keeper->is_over)
		check_worker(keeper);
}

int keeper_run(struct keeper_state *state, const struct keeper_commands *commands, int ready_fd,
	       void (*started)(void *arg), void *arg)
{
	machine_namespace_use(state->machine);
	struct keeper keeper = {
		.state = state,
		.commands = commands,
		.signals = -1,
		.mounts = keeper_open_mounts(),
		.ready_fd = ready_fd,
		.worker = KEEPER_NO_WORKER,
		.upgrade = KEEPER_NO_UPGRADE,
		.checked_ms = clock_awake_ms(),
		.start_ms = clock_awake_ms(),
	};

	begin(&keeper);
	started(arg);
	run(&keeper);
	end(&keeper);
	report_outcome(&keeper, keeper.code);
	release(&keeper);
	return keeper.code;
}
