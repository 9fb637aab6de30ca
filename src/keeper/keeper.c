#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "keeper/keeper_internal.h"
#include "keeper/notify.h"
#include "keeper/device.h"
#include "store/store.h"

/* How long the worker may take to end before it is killed, and the others after it. It closes the
 * store, and waits for a disk that others may keep busy. */
#define WORKER_END_MS 2500
#define OTHERS_END_MS 200

static int block_signals(struct keeper *keeper, struct err *err)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2 };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaddset(&set, numbers[i]);
	keeper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	/* Blocked and never read: nobody who stops reading what is said may end the mount. */
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (keeper->signals < 0)
		return err_errno(err, "signalfd");
	return 0;
}

static void reap(struct keeper *keeper)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == keeper->worker.pid)
			keeper_worker_died(keeper, status);
		else if (pid == keeper->upgrade.standby.pid)
			keeper_upgrade_standby_died(keeper, status);
		else if (pid == keeper->upgrade.renderer)
			keeper_upgrade_rendered(keeper, status);
		if (pid == keeper->worker.helper)
			keeper->worker.helper = 0;
		if (pid == keeper->helper)
			keeper->helper = 0;
		if (pid == keeper->worker.visitor)
			keeper->worker.visitor = 0;
	}
}

static void take_signal(struct keeper *keeper, uint32_t number)
{
	switch (number) {
	case SIGCHLD:
		reap(keeper);
		break;
	case SIGUSR1:
		/* A mount that nobody keeps would be a dead one. */
		keeper->leaving = notify_keeps();
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

/* Somebody has unmounted it, while our handle keeps the connection. Whoever has files open there is
 * served on; when there is nobody any more, the kernel ends it. */
static void look_for_mount(struct keeper *keeper)
{
	const struct keeper_state *state = keeper->state;

	if (state->device < 0 || keeper->is_detached || keeper->stopping ||
	    device_is_mounted(keeper->mounts, state->number))
		return;
	keeper->is_detached = true;
	keeper_close_handle(keeper);
	if (keeper->worker.channel >= 0)
		channel_send(keeper->worker.channel, CHANNEL_DETACHED, -1);
}

/* Waits for something to happen, at most timeout_ms (-1: for ever). */
static void wait_once(struct keeper *keeper, int timeout_ms)
{
	struct pollfd pfds[] = {
		{ .fd = keeper->signals, .events = POLLIN },
		{ .fd = keeper->worker.channel, .events = POLLIN }, /* ignored when negative */
		{ .fd = keeper->upgrade.standby.channel, .events = POLLIN },
		{ .fd = keeper->mounts, .events = POLLPRI },
	};

	if (poll(pfds, ARRAY_SIZE(pfds), timeout_ms) <= 0)
		return;
	if (pfds[1].revents)
		keeper_read_channel(keeper);
	if (pfds[2].revents && keeper->upgrade.standby.channel >= 0)
		keeper_upgrade_read_standby(keeper);
	if (pfds[0].revents)
		read_signals(keeper);
	if (pfds[3].revents)
		look_for_mount(keeper);
}

/* Until the next thing is due; signs of life are looked for at their own pace. */
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
		keeper_tend_worker(keeper);
		keeper_tend_upgrade(keeper);
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
		close(steal_fd(&keeper->worker.channel)); /* it waits for what will not come */
	kill(keeper->worker.pid, SIGTERM);
	if (worker_ends(keeper, WORKER_END_MS))
		return;
	keeper_fail("worker_killed", "it did not end in time");
	kill(keeper->worker.pid, SIGKILL);
	if (!worker_ends(keeper, WORKER_END_MS))
		keeper_fail("worker_left", "it waits for a disk that does not answer");
}

static bool has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Helper, visitor and notifiers end by themselves when the worker has. */
static void end_others(struct keeper *keeper)
{
	int64_t deadline = clock_awake_ms() + OTHERS_END_MS;
	int64_t left;

	while (has_children() && (left = deadline - clock_awake_ms()) > 0)
		wait_once(keeper, (int)left);
	if (keeper->helper)
		kill(keeper->helper, SIGKILL); /* it may wait for a file that never comes */
}

static void end(struct keeper *keeper)
{
	struct keeper_state *state = keeper->state;

	keeper->stopping = true;
	notify_stopping();
	if (keeper->upgrade.step != UPGRADE_NONE)
		keeper_upgrade_refuse(keeper, "rptfs is being stopped");
	/* The name goes away before the worker does, so that nobody finds a dead mount. */
	if (!keeper->leaving) {
		device_unmount(state->mountpoint, state->number);
		keeper->is_detached = true;
	}
	keeper_close_handle(keeper);
	if (!keeper->leaving && keeper->worker.channel >= 0)
		channel_send(keeper->worker.channel, CHANNEL_DETACHED, -1);
	end_worker(keeper);
	end_others(keeper);
	if (!keeper->leaving) {
		notify_forget_mount();
		notify_forget_store();
		unlink(state->control_path);
		if (*state->memory_dir)
			store_remove_memory(state->memory_dir);
	}
}

static void release(struct keeper *keeper)
{
	struct keeper_state *state = keeper->state;
	int *const fds[] = {
		&keeper->signals, &keeper->mounts, &state->config, &state->store,  &state->control,
		&state->lock,	  &state->slots,   &state->device, &state->handle, &state->exe,
	};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close_cleanup(fds[i]);
}

/* The worker that the keeper before this one has started. */
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
		.helper = keeper->state->helper,
		.visitor = keeper->state->visitor,
	};
	keeper->helper = keeper->state->helper;
	keeper->start_ms = NEVER;
	notify_ready(); /* which it is since long ago */
	keeper_upgrade_report(keeper);
	/* Its death before this moment left no signal that we can count on. */
	reap(keeper);
}

int keeper_run(struct keeper_state *state, const struct keeper_commands *commands, int ready_fd,
	       void (*started)(void *arg), void *arg)
{
	struct keeper keeper = {
		.state = state,
		.commands = commands,
		.signals = -1,
		.mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC),
		.ready_fd = ready_fd,
		.worker = { .channel = -1, .serving_ms = NEVER },
		.upgrade = { .asker = -1,
			     .exe = -1,
			     .config = -1,
			     .said = -1,
			     .standby = { .channel = -1 } },
		.start_ms = clock_awake_ms(),
	};
	struct err err = ERR_INIT;

	prctl(PR_SET_NAME, "rptfs-keeper");
	/* A worker's notifier outlives it, and is reaped here where init does not. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (process_limit_rights(&err) < 0 || block_signals(&keeper, &err) < 0) {
		keeper_fail("start_failed", err.msg);
		keeper.is_over = true;
		keeper.code = KEEPER_FAILED;
	}
	if (state->device >= 0) {
		/* A mount that stands is kept alive whatever becomes of its first worker. */
		keeper.was_ready = true;
		if (state->handle < 0)
			keeper_open_handle(state);
		keeper_keep_mount(state);
	}
	if (state->is_upgrade && !keeper.is_over)
		adopt_worker(&keeper);
	if (!keeper.is_over)
		keeper_tend_worker(&keeper);
	started(arg);
	run(&keeper);
	end(&keeper);
	keeper_tell_outcome(&keeper, keeper.code);
	release(&keeper);
	return keeper.code;
}
