/*
 * One thread receives requests, and each request has a thread of its own, so that a slow program or
 * a dead file server delays no other request. Threads are detached. At the end the executor waits
 * for them, because they kill their programs; the opener does not.
 *
 * Runs in the opener and in the executor.
 */
#include "helper/helper.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pass_fds.h"
#include "base/util.h"
#include "helper/executor.h"
#include "helper/helper_reply.h"
#include "helper/helper_request.h"
#include "helper/opener.h"

#define STACK_BYTES ((size_t)256 * 1024)

static const struct role {
	const char *process;
	int (*serve)(const struct helper_request *request, struct err *err);
	unsigned max; /* requests at a time */
	int end_ms;   /* how long the process waits for their threads at the end */
	const char *busy;
} roles[] = {
	[HELPER_OPENER] = { "rptfs-helper", opener_serve, HELPER_FILES_MAX, 0,
			    "files are being opened" },
	/* Programs are killed as soon as the worker's sockets are closed. */
	[HELPER_EXECUTOR] = { "rptfs-executor", executor_serve, HELPER_PROGRAMS_MAX, 150,
			      "programs are running" },
};

struct server {
	const struct role *role;
	int socket; /* owned */
	pthread_attr_t attributes;

	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t ended;
	unsigned n_requests; /* guarded by lock */
};

struct job {
	struct server *server;
	struct helper_request request;
};

static void job_free(struct job *job)
{
	for (size_t i = 0; i < HELPER_FDS_MAX; i++)
		close_cleanup(&job->request.fds[i]);
	free(job);
}

DEFINE_CLEANUP(struct job, job_free)

/* ---- the thread of a request ---- */

static bool enter(struct server *server, struct err *err)
{
	const struct role *role = server->role;

	pthread_mutex_lock(&server->lock);
	bool is_free = server->n_requests < role->max;
	server->n_requests += is_free;
	pthread_mutex_unlock(&server->lock);
	if (!is_free)
		err_set(err, ERR_BUSY, "%u %s already", role->max, role->busy);
	return is_free;
}

static void leave(struct server *server)
{
	pthread_mutex_lock(&server->lock);
	server->n_requests--;
	pthread_cond_signal(&server->ended);
	pthread_mutex_unlock(&server->lock);
}

static void *thread_main(void *arg)
{
	struct job *job = arg;
	struct server *server = job->server;
	struct err err = ERR_INIT;

	if (server->role->serve(&job->request, &err) < 0)
		helper_reply_error(job->request.fds[0], &err);
	job_free(job);
	leave(server);
	return NULL;
}

/* Takes the job. */
static void handle(struct server *server, struct job *taken)
{
	_cleanup_(job_free_cleanup) struct job *job = taken;
	struct err err = ERR_INIT;
	pthread_t thread;

	if (!enter(server, &err)) {
		helper_reply_error(job->request.fds[0], &err);
		return;
	}
	int failure = pthread_create(&thread, &server->attributes, thread_main, job);
	if (failure == 0) {
		steal_ptr(&job);
		return;
	}
	leave(server);
	err_set(&err, ERR_INTERNAL, "the helper has no thread: %s", strerror(failure));
	helper_reply_error(job->request.fds[0], &err);
}

/* ---- receiving ---- */

/* Returns 0 when the worker is gone. */
static ssize_t receive(const struct server *server, struct helper_request *request)
{
	ssize_t len = pass_fds_receive(server->socket, request->text, HELPER_REQUEST_MAX,
				       request->fds, HELPER_FDS_MAX, 0);

	request->len = len > 0 ? (size_t)len : 0;
	return len;
}

static void serve(struct server *server)
{
	for (;;) {
		_cleanup_(job_free_cleanup) struct job *job = calloc(1, sizeof(*job));
		if (!job)
			return;
		job->server = server;
		if (receive(server, &job->request) <= 0)
			return;
		if (job->request.fds[0] >= 0)
			handle(server, steal_ptr(&job));
	}
}

static void wait_for_threads(struct server *server)
{
	struct timespec deadline = clock_after(server->role->end_ms);
	int result = 0;

	pthread_mutex_lock(&server->lock);
	while (server->n_requests && result == 0)
		result = pthread_cond_clockwait(&server->ended, &server->lock, CLOCK_MONOTONIC,
						&deadline);
	pthread_mutex_unlock(&server->lock);
}

/* ---- life ---- */

/* Programs must not talk to the service manager in the name of rptfs. They get no descriptors,
 * because all are close-on-exec. */
static void prepare_process(const char *name)
{
	static const char *const ours[] = {
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
		"LISTEN_PID",	 "LISTEN_FDS",	 "LISTEN_FDNAMES",
	};

	prctl(PR_SET_NAME, name);
	/* The terminal sends SIGINT and SIGHUP to the whole foreground group. This process ends
	 * after the worker. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		unsetenv(ours[i]);
}

int helper_begin(const struct helper_setup *setup, struct err *err)
{
	prepare_process(roles[setup->role].process);
	switch (setup->role) {
	case HELPER_OPENER:
		return opener_begin(setup->config, setup->types, err);
	case HELPER_EXECUTOR:
		return executor_begin(setup->types, err);
	case HELPER_ROLES:
		break;
	}
	return -1;
}

int helper_serve(const struct helper_setup *setup)
{
	/* Static, because threads that hang in a file system outlive this function. */
	static struct server server = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.ended = PTHREAD_COND_INITIALIZER,
	};

	server.role = &roles[setup->role];
	server.socket = setup->socket;
	pthread_attr_init(&server.attributes);
	pthread_attr_setdetachstate(&server.attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&server.attributes, STACK_BYTES);
	serve(&server);
	wait_for_threads(&server);
	close(server.socket);
	return 0;
}
