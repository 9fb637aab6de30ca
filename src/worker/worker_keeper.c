/*
 * The worker's end of the channel to the keeper, in two threads: `watcher` receives messages and
 * waits for a reason to end; `pulse` sends a sign of life every second, unless a request of the
 * kernel has waited too long for its answer.
 *
 * Runs in the worker, unprivileged.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "worker/worker_internal.h"

/* Time limit for the answer to a request other than READ, which needs no disk. */
#define ANSWER_MAX_MS 10000

int worker_block_signals(struct worker *worker, struct err *err)
{
	sigset_t set;

	/* The terminal sends SIGINT to the whole foreground group; the keeper handles it. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	worker->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (worker->signals < 0)
		return err_errno(err, "signalfd");
	return 0;
}

/* ------------------------------------------------------------------ pulse */

/* Requests that a predecessor left may be old, so this worker gets some time first. */
static bool is_answering(struct worker *worker)
{
	int64_t now_ms = clock_boot_ms(), serving_ms = atomic_load(&worker->serving_ms);

	return !serving_ms || now_ms - serving_ms < ANSWER_MAX_MS ||
	       inflight_oldest_ms(worker->inflight, now_ms) < ANSWER_MAX_MS;
}

static void *pulse(void *arg)
{
	struct worker *worker = arg;
	struct pollfd pfd = { .fd = worker->cancel.fd, .events = POLLIN };

	pthread_setname_np(pthread_self(), "pulse");
	while (!cancel_requested(&worker->cancel)) {
		if (is_answering(worker))
			channel_send(worker->setup->channel, CHANNEL_ALIVE, -1);
		poll(&pfd, 1, CHANNEL_ALIVE_MS);
	}
	return NULL;
}

int worker_start_pulse(struct worker *worker, struct err *err)
{
	int failure = pthread_create(&worker->pulse, NULL, pulse, worker);

	if (failure)
		return err_set(err, ERR_INTERNAL, "pulse: thread: %s", strerror(failure));
	worker->pulse_started = true;
	return 0;
}

/* ------------------------------------------------------------------ watcher */

/* The keeper runs another program now. */
static void report_upgrade(struct worker *worker, const struct channel_message *message)
{
	struct err err = ERR_INIT;

	if (worker_wait_built(worker, &err) < 0)
		return;
	memcpy(worker->keeper_version, message->report.keeper_version,
	       sizeof(worker->keeper_version));
	worker->keeper_version[sizeof(worker->keeper_version) - 1] = '\0';
	worker->view.keeper_version = worker->keeper_version;
	if (message->fds[0] >= 0)
		control_report_upgrade(message->fds[0], &worker->view, message->report.previous);
}

/* Returns false when it is time to end. */
static bool read_channel(struct worker *worker)
{
	_cleanup_(channel_message_release) struct channel_message message;

	channel_receive(worker->setup->channel, CHANNEL_WAITS, &message);
	switch (message.type) {
	case CHANNEL_REFUSED:
		if (message.fds[0] >= 0)
			control_refuse(message.fds[0], ERR_DENIED, message.text);
		return true;
	case CHANNEL_REPORT:
		report_upgrade(worker, &message);
		return true;
	case CHANNEL_HANDOVER:
		log_event(LOG_LEVEL_INFO, "handing_over");
		return false;
	case CHANNEL_DETACHED:
		fs_announce_end(worker->fs);
		return true;
	case CHANNEL_END:
		log_event(LOG_LEVEL_ERROR, "keeper_died");
		return false;
	case CHANNEL_NOTHING:
	case CHANNEL_HELLO:
	case CHANNEL_PREPARED:
	case CHANNEL_DEVICE:
	case CHANNEL_SERVING:
	case CHANNEL_READY:
	case CHANNEL_ALIVE:
	case CHANNEL_STANDBY:
	case CHANNEL_GO:
	case CHANNEL_HELPER:
	case CHANNEL_EXECUTOR:
	case CHANNEL_VISITOR:
	case CHANNEL_UPGRADE:
	case CHANNEL_UNMOUNTED:
	case CHANNEL_UNFIT:
	case CHANNEL_FAILED:
		break;
	}
	return true;
}

static void *watch(void *arg)
{
	struct worker *worker = arg;
	struct pollfd pfds[] = {
		{ .fd = worker->signals, .events = POLLIN },
		{ .fd = fs_over_fd(worker->fs), .events = POLLIN },
		{ .fd = worker->cancel.fd, .events = POLLIN },
		{ .fd = worker->setup->channel, .events = POLLIN },
	};
	bool goes_on = true;

	pthread_setname_np(pthread_self(), "watcher");
	while (goes_on) {
		if (poll(pfds, ARRAY_SIZE(pfds), -1) < 0)
			continue;
		goes_on = !pfds[0].revents && !pfds[1].revents && !pfds[2].revents;
		if (pfds[1].revents && fs_was_unmounted(worker->fs))
			channel_send(worker->setup->channel, CHANNEL_UNMOUNTED, -1);
		/* Read the last messages even if this loop ends. */
		if (pfds[3].revents)
			goes_on = read_channel(worker) && goes_on;
	}
	cancel_request(&worker->cancel);
	return NULL;
}

int worker_start_watcher(struct worker *worker, struct err *err)
{
	int failure = pthread_create(&worker->watcher, NULL, watch, worker);

	if (failure)
		return err_set(err, ERR_INTERNAL, "watcher: thread: %s", strerror(failure));
	worker->watcher_started = true;
	return 0;
}
