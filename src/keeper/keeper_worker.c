/*
 * The keeper's workers: their start, their messages, their death.
 *
 * The next one is started at once, unless one after the other dies before it has served for a
 * second: then after 0.1 s, 0.2 s … 5 s. After three such deaths by a fault in the program, the
 * store is suspected and begun anew.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pass_fds.h"
#include "base/util.h"
#include "keeper/daemonize.h"
#include "keeper/keeper_internal.h"
#include "keeper/notify.h"
#include "keeper/device.h"
#include "mount/connection/slots.h"
#include "mount/publish/visitor.h"

#define SETTLED_MS	  1000
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS	  5000
#define CRASHES_MAX	  3
#define SILENCE_MAX_MS	  10000

void keeper_fail(const char *event, const char *message)
{
	log_event(LOG_LEVEL_ERROR, event, LOG_STR("error", message));
}

void keeper_tell_outcome(struct keeper *keeper, int code)
{
	uint8_t byte = (uint8_t)code;

	if (keeper->ready_fd < 0)
		return;
	daemonize_detach();
	keeper->state->is_detached = true;
	if (write(keeper->ready_fd, &byte, 1) != 1) {
		/* Whoever started us is gone, and wants no answer. */
	}
	close(steal_fd(&keeper->ready_fd));
}

/* ------------------------------------------------------------------ starting one */

static int say_hello(struct keeper *keeper, struct keeper_worker *worker, int config,
		     bool is_standby)
{
	const struct keeper_state *state = keeper->state;
	struct channel_hello hello = {
		.protocol = CHANNEL_PROTOCOL,
		.is_standby = is_standby,
		.is_detached = state->is_detached,
		.is_confined = state->is_confined,
		.set_aside = keeper->set_aside,
		.renames = state->renames && (state->device < 0 || state->handle >= 0),
		.owner = getuid(),
		.owner_group = getgid(),
		.restarts = state->restarts,
		.keeper = getpid(),
	};
	const int fds[CHANNEL_FDS_MAX] = {
		[CHANNEL_FD_CONFIG] = config,	       [CHANNEL_FD_STORE] = state->store,
		[CHANNEL_FD_CONTROL] = state->control, [CHANNEL_FD_SLOTS] = state->slots,
		[CHANNEL_FD_DEVICE] = state->device,
	};

	memcpy(hello.control_path, state->control_path, sizeof(hello.control_path));
	build_version(hello.keeper_version);
	return channel_send_hello(worker->channel, &hello, fds);
}

int keeper_start_worker(struct keeper *keeper, struct keeper_worker *worker, int exe, int config,
			bool is_standby, struct err *err)
{
	int pair[2];

	if (pass_fds_pair(pair, err) < 0)
		return -1;
	_cleanup_close_ int ours = pair[0];
	_cleanup_close_ int theirs = pair[1];
	struct process_start start = {
		.program = exe,
		.argv = keeper->commands->worker,
		.identity = &keeper->state->worker_identity,
		.inherited = { theirs, -1 },
		.errors = -1,
	};
	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d", theirs);
	pid_t pid = process_start(&start, err);
	if (pid < 0)
		return -1;
	*worker = (struct keeper_worker){
		.pid = pid,
		.channel = steal_fd(&ours),
		.alive_ms = clock_awake_ms(),
		.serving_ms = NEVER,
		.exe = exe,
		.config = config,
	};
	say_hello(keeper, worker, config, is_standby); /* if it died at once, SIGCHLD says so */
	return 0;
}

static void start_next(struct keeper *keeper)
{
	struct keeper_state *state = keeper->state;
	struct err err = ERR_INIT;

	keeper->start_ms = NEVER;
	notify_alive(); /* a crash loop is no reason to restart the keeper */
	if (keeper_start_worker(keeper, &keeper->worker, state->exe, state->config, false, &err) <
	    0) {
		keeper_fail("worker_not_started", err.msg);
		keeper->start_ms = clock_awake_ms() + BACK_OFF_MAX_MS;
		return;
	}
	keeper->set_aside = false;
}

/* ------------------------------------------------------------------ the death of one */

/* Whoever reaps it comes later. */
static bool has_ended(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return pid && (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		       info.si_pid == pid);
}

/* It does not answer: what it was told to do it may still finish. */
static void end_visitor(struct keeper_worker *worker)
{
	if (worker->visitor && !has_ended(worker->visitor))
		kill(worker->visitor, SIGKILL);
	worker->visitor = 0;
}

void keeper_forget_worker(struct keeper_worker *worker)
{
	end_visitor(worker);
	close_cleanup(&worker->channel);
	*worker = (struct keeper_worker){ .channel = -1, .serving_ms = NEVER };
}

static bool is_fault(int wait_status)
{
	int number = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;

	return number == SIGSEGV || number == SIGBUS || number == SIGABRT;
}

/* After how long the next one is to be started, from how this one ended. */
static int64_t judge_death(struct keeper *keeper, int wait_status)
{
	int64_t now_ms = clock_awake_ms();
	int64_t delay_ms = BACK_OFF_FIRST_MS;

	if (keeper->worker.serving_ms != NEVER &&
	    now_ms - keeper->worker.serving_ms >= SETTLED_MS) {
		keeper->early_deaths = keeper->crashes = 0;
		return 0;
	}
	keeper->crashes += is_fault(wait_status);
	if (keeper->crashes == CRASHES_MAX) {
		keeper->crashes = 0;
		keeper->set_aside = true;
	}
	for (unsigned i = 0; i < keeper->early_deaths && delay_ms < BACK_OFF_MAX_MS; i++)
		delay_ms *= 2;
	keeper->early_deaths++;
	return delay_ms < BACK_OFF_MAX_MS ? delay_ms : BACK_OFF_MAX_MS;
}

void keeper_keep_mount(const struct keeper_state *state)
{
	const struct notify_kept kept = {
		.device = state->device,
		.slots = state->slots,
		.config = state->config,
		.store = -1,
		.number = state->number,
	};

	notify_keep_mount(&kept);
}

/* This connection cannot be served any more: another one takes its place. */
static int renew_mount(struct keeper *keeper, struct err *err)
{
	struct keeper_state *state = keeper->state;
	_cleanup_close_ int slots = slots_make(err);

	if (slots < 0)
		return -1;
	_cleanup_close_ int device = device_mount_again(state->mountpoint, state->number,
							state->allow_other, state->renames, err);
	if (device < 0)
		return -1;
	/* The last copies of the old connection: who still waits there gets an error. */
	notify_forget_mount();
	keeper_close_handle(keeper);
	close(state->device);
	close(state->slots);
	state->device = steal_fd(&device);
	state->slots = steal_fd(&slots);
	state->number = device_number(state->mountpoint);
	keeper_open_handle(state);
	keeper_keep_mount(state);
	log_event(LOG_LEVEL_WARNING, "mounted_anew", LOG_STR("mountpoint", state->mountpoint),
		  LOG_STR("lost", "what programs had open, but for what is cached"));
	return 0;
}

static void log_death(struct keeper *keeper, int wait_status, int64_t delay_ms)
{
	char how[PROCESS_END_SIZE];
	const char *reason = keeper->worker.reason;

	log_event(LOG_LEVEL_ERROR, "worker_died", LOG_INT("pid", keeper->worker.pid),
		  LOG_STR("by", process_end(wait_status, how)),
		  LOG_STR("reason", *reason ? reason : NULL), LOG_INT("next_in_ms", delay_ms),
		  LOG_INT("restarts", keeper->state->restarts));
}

/* There is no mount to keep alive, or none any more, or the start has failed. */
static bool is_the_end(const struct keeper *keeper, int wait_status)
{
	if (keeper->state->device < 0 || keeper->worker.is_unmounted)
		return true;
	return WIFEXITED(wait_status) && !keeper->was_ready;
}

/* Whoever was to take over from it has died. */
static bool has_left_in_vain(const struct keeper_worker *worker, int wait_status)
{
	return worker->is_leaving && WIFEXITED(wait_status) && !WEXITSTATUS(wait_status);
}

void keeper_worker_died(struct keeper *keeper, int wait_status)
{
	struct keeper_worker *worker = &keeper->worker;
	struct err err = ERR_INIT;

	/* Its last words. Its end need not be closed: it may have passed it on. */
	while (worker->channel >= 0 && keeper_read_channel(keeper))
		;
	if (keeper_upgrade_handed_over(keeper))
		return;
	if (keeper->stopping) {
		keeper_forget_worker(worker);
		return;
	}
	if (has_left_in_vain(worker, wait_status)) {
		keeper_forget_worker(worker);
		keeper->start_ms = clock_awake_ms();
		return;
	}
	if (is_the_end(keeper, wait_status)) {
		keeper->is_over = true;
		keeper->code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : KEEPER_FAILED;
		if (WIFSIGNALED(wait_status))
			log_death(keeper, wait_status, 0);
		keeper_forget_worker(worker);
		return;
	}
	keeper->state->restarts++;
	if (keeper_upgrade_goes_back(keeper, wait_status)) {
		keeper_forget_worker(worker);
		return;
	}
	int64_t delay_ms = judge_death(keeper, wait_status);
	log_death(keeper, wait_status, delay_ms);
	keeper->start_ms = clock_awake_ms() + delay_ms;
	/* What is begun anew knows nothing of what the kernel holds. */
	if ((worker->is_unfit || keeper->set_aside) && renew_mount(keeper, &err) < 0)
		keeper_fail("mount_failed", err.msg);
	keeper_forget_worker(worker);
}

/* ------------------------------------------------------------------ its messages */

/* One at a time for each worker; that none was started shows to it as the end of its socket. */
void keeper_start_helper(struct keeper *keeper, struct keeper_worker *worker, int socket)
{
	struct err err = ERR_INIT;
	struct process_start start = {
		.program = worker->exe,
		.argv = keeper->commands->helper,
		.inherited = { socket, worker->config },
		.errors = -1,
	};

	if (has_ended(worker->helper)) {
		if (keeper->helper == worker->helper)
			keeper->helper = 0;
		worker->helper = 0;
	}
	if (worker->helper || socket < 0)
		return;
	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d,%d", socket,
		 worker->config);
	pid_t pid = process_start(&start, &err);
	if (pid < 0) {
		keeper_fail("helper_failed", err.msg);
		return;
	}
	worker->helper = keeper->helper = pid;
}

/* One at a time. */
void keeper_start_visitor(struct keeper *keeper, struct keeper_worker *worker, int socket)
{
	struct keeper_state *state = keeper->state;
	struct err err = ERR_INIT;
	struct process_start start = {
		.program = worker->exe,
		.argv = keeper->commands->visitor,
		.inherited = { socket, state->handle },
		.errors = -1,
	};

	if (socket < 0)
		return;
	end_visitor(worker);
	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d,%d", socket,
		 keeper->is_detached ? VISITOR_NO_MOUNT : state->handle);
	pid_t pid = process_start(&start, &err);
	if (pid < 0)
		keeper_fail("visitor_failed", err.msg);
	else
		worker->visitor = pid;
}

void keeper_open_handle(struct keeper_state *state)
{
	struct err err = ERR_INIT;

	close_cleanup(&state->handle);
	state->handle = device_open_handle(state->mountpoint, state->number, state->renames, &err);
	if (state->handle < 0 && state->renames)
		log_event(LOG_LEVEL_WARNING, "no_handle", LOG_STR("error", err.msg),
			  LOG_STR("consequence", "names move by notifications"));
}

void keeper_close_handle(struct keeper *keeper)
{
	close_cleanup(&keeper->state->handle);
	keeper->state->handle = -1;
}

/* The first worker is prepared: mounts, once, and hands the device over. */
static void give_device(struct keeper *keeper)
{
	struct keeper_state *state = keeper->state;
	struct err err = ERR_INIT;

	if (state->device < 0)
		state->device = device_mount(state->mountpoint, state->allow_other, state->renames,
					     &err);
	if (state->device < 0) {
		keeper_fail("mount_failed", err.msg);
		keeper->is_over = true;
		keeper->code = KEEPER_MOUNT_FAILED;
		return;
	}
	state->number = device_number(state->mountpoint);
	keeper_open_handle(state);
	keeper_keep_mount(state);
	channel_send(keeper->worker.channel, CHANNEL_DEVICE, state->device);
}

static void note_serving(struct keeper *keeper)
{
	keeper->worker.serving_ms = clock_awake_ms();
	keeper_upgrade_finish(keeper);
}

static void note_ready(struct keeper *keeper)
{
	keeper->was_ready = true;
	keeper_tell_outcome(keeper, KEEPER_OK);
	notify_ready();
}

bool keeper_read_channel(struct keeper *keeper)
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
		worker->alive_ms = clock_awake_ms();
		notify_alive();
		if (keeper->state->restarts == 0)
			notify_starting();
		break;
	case CHANNEL_HELPER:
		keeper_start_helper(keeper, worker, message.fds[0]);
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

/* ------------------------------------------------------------------ what is due */

static void kill_if_silent(struct keeper *keeper, int64_t now_ms)
{
	struct keeper_worker *worker = &keeper->worker;

	if (!worker->pid || keeper->state->is_debugged ||
	    now_ms - worker->alive_ms < SILENCE_MAX_MS)
		return;
	log_event(LOG_LEVEL_ERROR, "worker_hangs", LOG_INT("pid", worker->pid),
		  LOG_INT("silent_for_ms", now_ms - worker->alive_ms));
	worker->alive_ms = now_ms; /* it dies; SIGCHLD follows */
	kill(worker->pid, SIGKILL);
}

void keeper_tend_worker(struct keeper *keeper)
{
	int64_t now_ms = clock_awake_ms();

	if (now_ms >= keeper->start_ms)
		start_next(keeper);
	kill_if_silent(keeper, now_ms);
}
