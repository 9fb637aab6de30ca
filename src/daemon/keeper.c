#include "daemon/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "daemon/channel.h"
#include "daemon/daemonize.h"
#include "mount/device.h"

/* How long the worker may take to end before it is killed, and the runner after it. */
#define WORKER_END_MS 800
#define RUNNER_END_MS 200

struct keeper {
	const struct keeper_setup *setup;
	int signals;  /* owned: signalfd */
	int channel;  /* owned: our end */
	int device;   /* owned: the connection; -1: not mounted */
	dev_t number; /* of the mount; 0: not mounted */
	int ready_fd; /* owned: -1 once the outcome was told */
	pid_t worker; /* 0: none */
	pid_t runner; /* 0: none */
	bool worker_ended;
	int worker_status; /* of waitpid() */
	bool stopping;	   /* a signal asked for the end */
	bool mount_failed;
};

static void tell_outcome(struct keeper *keeper, int code)
{
	uint8_t byte = (uint8_t)code;

	if (keeper->ready_fd < 0)
		return;
	daemonize_detach();
	if (write(keeper->ready_fd, &byte, 1) != 1) {
		/* Whoever started us is gone, and wants no answer. */
	}
	close(steal_fd(&keeper->ready_fd));
}

static void fail(const char *event, const char *message)
{
	log_event(LOG_LEVEL_ERROR, event, LOG_STR("error", message));
}

static int block_signals(struct keeper *keeper, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	keeper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (keeper->signals < 0)
		return err_errno(err, "signalfd");
	return 0;
}

/* This program again, as worker or runner. */
static void exec_as(const struct keeper *keeper, char **argv, int descriptor)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fcntl(descriptor, F_SETFD, 0); /* survives exec */
	snprintf(keeper->setup->descriptor_argument, KEEPER_DESCRIPTOR_SIZE, "%d", descriptor);
	execv("/proc/self/exe", argv);
	fail("exec_failed", strerror(errno));
	_exit(KEEPER_FAILED);
}

static int start_worker(struct keeper *keeper, struct err *err)
{
	int pair[2];

	if (channel_new(pair, err) < 0)
		return -1;
	keeper->channel = pair[0];
	_cleanup_close_ int theirs = pair[1];
	keeper->worker = fork();
	if (keeper->worker < 0)
		return err_errno(err, "fork");
	if (keeper->worker == 0)
		exec_as(keeper, keeper->setup->worker_argv, theirs);
	return 0;
}

/* One at a time; that none was started shows to the worker as the end of its socket. */
static void start_runner(struct keeper *keeper, int socket)
{
	if (keeper->runner && waitpid(keeper->runner, NULL, WNOHANG) == keeper->runner)
		keeper->runner = 0;
	if (keeper->runner || socket < 0)
		return;
	keeper->runner = fork();
	if (keeper->runner == 0)
		exec_as(keeper, keeper->setup->runner_argv, socket);
	if (keeper->runner < 0) {
		fail("runner_failed", strerror(errno));
		keeper->runner = 0;
	}
}

/* The worker is prepared: mounts, once, and hands the device over. */
static void give_device(struct keeper *keeper)
{
	struct err err = ERR_INIT;

	if (keeper->device < 0)
		keeper->device = device_mount(keeper->setup->mountpoint, keeper->setup->allow_other,
					      &err);
	if (keeper->device < 0) {
		fail("mount_failed", err.msg);
		keeper->mount_failed = true;
		return;
	}
	keeper->number = device_number(keeper->setup->mountpoint);
	channel_send(keeper->channel, CHANNEL_DEVICE, keeper->device);
}

static void read_channel(struct keeper *keeper)
{
	_cleanup_close_ int came_along = -1;

	switch (channel_receive(keeper->channel, &came_along)) {
	case CHANNEL_PREPARED:
		give_device(keeper);
		return;
	case CHANNEL_READY:
		tell_outcome(keeper, KEEPER_OK);
		return;
	case CHANNEL_RUNNER:
		start_runner(keeper, came_along);
		return;
	case CHANNEL_DEVICE:
	case CHANNEL_END:
		break;
	}
	close(steal_fd(&keeper->channel)); /* SIGCHLD follows */
}

static void read_signals(struct keeper *keeper)
{
	struct signalfd_siginfo info;

	while (read(keeper->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			if (waitpid(keeper->worker, &keeper->worker_status, WNOHANG) ==
			    keeper->worker)
				keeper->worker_ended = true;
			if (keeper->runner &&
			    waitpid(keeper->runner, NULL, WNOHANG) == keeper->runner)
				keeper->runner = 0;
		} else {
			keeper->stopping = true;
		}
	}
}

/* Waits for something to happen, at most timeout_ms (-1: for ever). */
static void wait_once(struct keeper *keeper, int timeout_ms)
{
	struct pollfd pfds[] = {
		{ .fd = keeper->signals, .events = POLLIN },
		{ .fd = keeper->channel, .events = POLLIN }, /* ignored when negative */
	};

	if (poll(pfds, ARRAY_SIZE(pfds), timeout_ms) <= 0)
		return;
	if (pfds[1].revents)
		read_channel(keeper);
	if (pfds[0].revents)
		read_signals(keeper);
}

static void end_worker(struct keeper *keeper)
{
	int64_t deadline = clock_boot_ms() + WORKER_END_MS;
	int64_t left;

	if (keeper->worker_ended)
		return;
	if (!keeper->number && keeper->channel >= 0)
		close(steal_fd(&keeper->channel)); /* it waits for a device that will not come */
	kill(keeper->worker, SIGTERM);
	while (!keeper->worker_ended && (left = deadline - clock_boot_ms()) > 0)
		wait_once(keeper, (int)left);
	if (keeper->worker_ended)
		return;
	fail("worker_killed", "it did not end in time");
	kill(keeper->worker, SIGKILL);
	waitpid(keeper->worker, &keeper->worker_status, 0);
}

/* It ends by itself when the worker has. */
static void end_runner(struct keeper *keeper)
{
	int64_t deadline = clock_boot_ms() + RUNNER_END_MS;
	int64_t left;

	while (keeper->runner && (left = deadline - clock_boot_ms()) > 0)
		wait_once(keeper, (int)left);
	if (!keeper->runner)
		return;
	kill(keeper->runner, SIGKILL);
	waitpid(keeper->runner, NULL, 0);
}

/* The exit code, from how the worker ended. A worker that ends by itself with 0 was unmounted. */
static int judge(const struct keeper *keeper)
{
	char text[64];

	if (keeper->mount_failed)
		return KEEPER_MOUNT_FAILED;
	if (keeper->stopping)
		return KEEPER_OK;
	if (WIFEXITED(keeper->worker_status))
		return WEXITSTATUS(keeper->worker_status);
	snprintf(text, sizeof(text), "signal %d (%s)", WTERMSIG(keeper->worker_status),
		 strsignal(WTERMSIG(keeper->worker_status)));
	fail("worker_died", text);
	return KEEPER_FAILED;
}

static int run(struct keeper *keeper)
{
	struct err err = ERR_INIT;

	prctl(PR_SET_NAME, "rptfs-keeper");
	if (block_signals(keeper, &err) < 0 || start_worker(keeper, &err) < 0) {
		fail("start_failed", err.msg);
		return KEEPER_FAILED;
	}
	while (!keeper->worker_ended && !keeper->stopping && !keeper->mount_failed)
		wait_once(keeper, -1);
	/* The name goes away before the worker does, so that nobody finds a dead mount. */
	device_unmount(keeper->setup->mountpoint, keeper->number);
	end_worker(keeper);
	end_runner(keeper);
	return judge(keeper);
}

int keeper_run(const struct keeper_setup *setup)
{
	struct keeper keeper = {
		.setup = setup,
		.signals = -1,
		.channel = -1,
		.device = -1,
		.ready_fd = setup->ready_fd,
	};
	int code = run(&keeper);

	tell_outcome(&keeper, code);
	close_cleanup(&keeper.device);
	close_cleanup(&keeper.channel);
	close_cleanup(&keeper.signals);
	return code;
}
