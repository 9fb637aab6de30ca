/*
 * Starts a worker with its helper and its visitor, and decides when to start the next one.
 *
 * The next worker is started at once, unless workers keep dying before they have served for a
 * second: then after 0.1 s, 0.2 s … 5 s. If three of those deaths are crashes of the program, the
 * store may be the cause, and the next worker sets it aside.
 *
 * Runs in the keeper, with the rights of the user who started rptfs.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pass_fds.h"
#include "base/util.h"
#include "keeper/keeper_internal.h"
#include "mount/visitor/visitor.h"

#define SETTLED_MS	  1000
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS	  5000
#define CRASHES_MAX	  3

void keeper_log_error(const char *event, const char *message)
{
	log_event(LOG_LEVEL_ERROR, event, LOG_STR("error", message));
}

/* ------------------------------------------------------------------ the worker */

static int send_hello(struct keeper *keeper, struct keeper_worker *worker, int config,
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
		[CHANNEL_FD_CONTROL] = state->control, [CHANNEL_FD_INFLIGHT] = state->inflight,
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
	struct child_start start = {
		.program = exe,
		.argv = keeper->commands->worker,
		.identity = &keeper->state->worker_identity,
		.inherited = { theirs, -1 },
		.is_isolated = keeper->state->is_confined && keeper->state->worker_identity.is_set,
		.errors = -1,
	};
	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d", theirs);
	pid_t pid = child_start(&start, err);
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
	send_hello(keeper, worker, config, is_standby); /* on failure: SIGCHLD follows */
	return 0;
}

/* ------------------------------------------------------------------ helper and visitor */

/* Returns whether a child has ended. Does not reap it. */
static bool has_ended(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return pid && (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		       info.si_pid == pid);
}

/* Returns the pid of a process that serves the socket, or 0. */
static pid_t start_helper(const struct keeper *keeper, const struct keeper_worker *worker,
			  enum helper_role role, int socket)
{
	struct err err = ERR_INIT;
	struct child_start start = {
		.program = worker->exe,
		.argv = keeper->commands->helpers[role],
		.inherited = { socket, worker->config },
		.errors = -1,
	};

	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d,%d", socket,
		 worker->config);
	pid_t pid = child_start(&start, &err);
	if (pid < 0)
		keeper_log_error("helper_failed", err.msg);
	return pid < 0 ? 0 : pid;
}

/* A worker has one of each role at a time. If none is started, the worker reads the end of its
 * socket. */
void keeper_start_helper(struct keeper *keeper, struct keeper_worker *worker, enum helper_role role,
			 int socket)
{
	pid_t *of_worker = &worker->helpers[role], *latest = &keeper->helpers[role];

	if (has_ended(*of_worker)) {
		if (*latest == *of_worker)
			*latest = 0;
		*of_worker = 0;
	}
	if (*of_worker == 0 && socket >= 0)
		*of_worker = *latest = start_helper(keeper, worker, role, socket);
}

/* Kills a visitor that does not answer. It may still finish its last request. */
static void kill_visitor(struct keeper_worker *worker)
{
	if (worker->visitor && !has_ended(worker->visitor))
		kill(worker->visitor, SIGKILL);
	worker->visitor = 0;
}

/* A worker has one visitor at a time. */
void keeper_start_visitor(struct keeper *keeper, struct keeper_worker *worker, int socket)
{
	struct keeper_state *state = keeper->state;
	struct err err = ERR_INIT;
	struct child_start start = {
		.program = worker->exe,
		.argv = keeper->commands->visitor,
		.inherited = { socket, state->handle },
		.errors = -1,
	};

	if (socket < 0)
		return;
	kill_visitor(worker);
	snprintf(keeper->commands->descriptors, KEEPER_DESCRIPTORS_SIZE, "%d,%d", socket,
		 keeper->is_detached ? VISITOR_NO_MOUNT : state->handle);
	pid_t pid = child_start(&start, &err);
	if (pid < 0)
		keeper_log_error("visitor_failed", err.msg);
	else
		worker->visitor = pid;
}

/* ------------------------------------------------------------------ after its death */

void keeper_forget_worker(struct keeper_worker *worker)
{
	kill_visitor(worker);
	close_cleanup(&worker->channel);
	*worker = (struct keeper_worker)KEEPER_NO_WORKER;
}

static bool is_fault(int wait_status)
{
	int number = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;

	return number == SIGSEGV || number == SIGBUS || number == SIGABRT;
}

int64_t keeper_restart_delay(struct keeper *keeper, int wait_status)
{
	int64_t serving_ms = keeper->worker.serving_ms;
	int64_t delay_ms = BACK_OFF_FIRST_MS;

	if (serving_ms != NEVER && clock_awake_ms() - serving_ms >= SETTLED_MS) {
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
