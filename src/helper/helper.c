/*
 * One thread receives requests, and each request has a thread of its own, so that a slow program or
 * a dead file server delays no other request. Threads are detached. At the end the helper waits for
 * the threads of programs, which kill them, but not for those of files.
 *
 * Runs in the helper, with the rights of the user who started rptfs.
 */
#include "helper/helper.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/helper.h"
#include "base/log.h"
#include "base/pass_fds.h"
#include "base/safe_path.h"
#include "base/util.h"
#include "helper/configured_files.h"
#include "helper/helper_protocol.h"
#include "helper/helper_reply.h"
#include "helper/run_program.h"

#define STACK_BYTES ((size_t)256 * 1024)

/* Programs are killed as soon as the worker's sockets are closed. */
#define END_MS 150

struct server {
	struct helper_setup setup;
	struct configured_files *files; /* never freed: detached threads use it */
	pthread_attr_t attributes;

	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t ended;
	unsigned n_programs; /* guarded by lock */
	unsigned n_files;    /* guarded by lock */
};

struct request {
	struct server *server;
	char text[HELPER_REQUEST_MAX + 1]; /* NUL-terminated */
	size_t len;
	int fds[HELPER_FDS_MAX]; /* owned: for the answer, inotify; -1: none */
};

static void request_free(struct request *request)
{
	for (size_t i = 0; i < HELPER_FDS_MAX; i++)
		close_cleanup(&request->fds[i]);
	free(request);
}

DEFINE_CLEANUP(struct request, request_free)

/* ---- one request ---- */

static const struct helper_program *find_program(const struct server *server, const char *name)
{
	for (const struct source_type *const *type = server->setup.types; *type; type++) {
		const struct helper_program *program = (*type)->helper ? (*type)->helper->programs
								       : NULL;
		for (; program && program->name; program++) {
			if (strcmp(program->name, name) == 0)
				return program;
		}
	}
	return NULL;
}

/* The text behind the first NUL at or after `text`; NULL: the request ends there. */
static const char *next_text(const struct request *request, const char *text)
{
	const char *end = request->text + request->len;
	const char *nul = memchr(text, '\0', (size_t)(end - text));

	return nul && nul + 1 < end ? nul + 1 : NULL;
}

/* "cNAME\0FILE\0ENTRY\0" */
static int serve_program(const struct request *request, struct err *err)
{
	_cleanup_free_ char *command = NULL;
	const char *name = request->text + 1;
	const char *file = next_text(request, name);
	const char *entry = file ? next_text(request, file) : NULL;
	const struct helper_program *program = find_program(request->server, name);

	if (!entry || !program)
		return err_set(err, ERR_DENIED, "no such program");
	if (program->find(*file ? file : NULL, entry, &command, err) < 0)
		return -1;
	run_program(command, request->fds[0]);
	return 0;
}

static bool names_file(const struct server *server, const char *path)
{
	for (const struct source_type *const *type = server->setup.types; *type; type++) {
		const struct helper_uses *helper = (*type)->helper;
		if (helper && helper->names_file && helper->names_file(path))
			return true;
	}
	return configured_files_have(server->files, path);
}

static int check_path(const struct request *request, const char *path, struct err *err)
{
	if (names_file(request->server, path))
		return 0;
	return err_set(err, ERR_DENIED, "the configuration does not name it");
}

static int open_file(const struct request *request, struct err *err)
{
	const char *path = request->text + 1;

	if (check_path(request, path, err) < 0)
		return -1;
	_cleanup_close_ int fd = safe_path_open(path, SAFE_PATH_OWN, err);
	if (fd < 0)
		return -1;
	helper_reply_done(request->fds[0], "", 0, fd);
	return 0;
}

static int look(const struct request *request, struct err *err)
{
	const char *path = request->text + 1;
	struct stat st;

	if (check_path(request, path, err) < 0)
		return -1;
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OWN,
						   request->text[0] == HELPER_STAT, &st, err);
	if (found < 0)
		return -1;
	helper_reply_done(request->fds[0], &st, sizeof(st), -1);
	return 0;
}

static int watch(const struct request *request, struct err *err)
{
	const char *directory = request->text + 1;

	if (!configured_files_in(request->server->files, directory))
		return err_set(err, ERR_DENIED, "the configuration names no file in it");
	int wd = safe_path_watch(request->fds[1], directory, FILES_WATCH_EVENTS, err);
	if (wd < 0)
		return -1;
	helper_reply_done(request->fds[0], &wd, sizeof(wd), -1);
	return 0;
}

static int serve_request(const struct request *request, struct err *err)
{
	switch (request->text[0]) {
	case HELPER_PROGRAM:
		return serve_program(request, err);
	case HELPER_OPEN:
		return open_file(request, err);
	case HELPER_STAT:
	case HELPER_LSTAT:
		return look(request, err);
	case HELPER_WATCH:
		return watch(request, err);
	default:
		return err_set(err, ERR_DENIED, "no such request");
	}
}

/* ---- its thread ---- */

static unsigned *count_of(struct server *server, const struct request *request)
{
	return request->text[0] == HELPER_PROGRAM ? &server->n_programs : &server->n_files;
}

static bool enter(struct server *server, const struct request *request, struct err *err)
{
	bool is_program = request->text[0] == HELPER_PROGRAM;
	unsigned max = is_program ? HELPER_PROGRAMS_MAX : HELPER_FILES_MAX;
	unsigned *count = count_of(server, request);

	pthread_mutex_lock(&server->lock);
	bool is_free = *count < max;
	*count += is_free;
	pthread_mutex_unlock(&server->lock);
	if (!is_free)
		err_set(err, ERR_BUSY,
			is_program ? "%u programs are already running"
				   : "%u files are already being opened",
			max);
	return is_free;
}

static void leave(struct server *server, unsigned *count)
{
	pthread_mutex_lock(&server->lock);
	(*count)--;
	pthread_cond_signal(&server->ended);
	pthread_mutex_unlock(&server->lock);
}

static void *thread_main(void *arg)
{
	struct request *request = arg;
	struct server *server = request->server;
	unsigned *count = count_of(server, request);
	struct err err = ERR_INIT;

	if (serve_request(request, &err) < 0)
		helper_reply_error(request->fds[0], &err);
	request_free(request);
	leave(server, count);
	return NULL;
}

/* Takes the request. */
static void handle(struct server *server, struct request *taken)
{
	_cleanup_(request_free_cleanup) struct request *request = taken;
	struct err err = ERR_INIT;
	pthread_t thread;

	if (!enter(server, request, &err)) {
		helper_reply_error(request->fds[0], &err);
		return;
	}
	int failure = pthread_create(&thread, &server->attributes, thread_main, request);
	if (failure == 0) {
		steal_ptr(&request);
		return;
	}
	leave(server, count_of(server, request));
	err_set(&err, ERR_INTERNAL, "the helper has no thread: %s", strerror(failure));
	helper_reply_error(request->fds[0], &err);
}

/* ---- receiving ---- */

/* Returns 0 when the worker is gone. */
static ssize_t receive(const struct server *server, struct request *request)
{
	ssize_t len = pass_fds_receive(server->setup.socket, request->text, HELPER_REQUEST_MAX,
				       request->fds, HELPER_FDS_MAX, 0);

	request->len = len > 0 ? (size_t)len : 0;
	return len;
}

static void serve(struct server *server)
{
	for (;;) {
		_cleanup_(request_free_cleanup) struct request *request = calloc(1,
										 sizeof(*request));
		if (!request)
			return;
		request->server = server;
		if (receive(server, request) <= 0)
			return;
		if (request->fds[0] >= 0)
			handle(server, steal_ptr(&request));
	}
}

static void wait_for_programs(struct server *server)
{
	struct timespec deadline = clock_after(END_MS);
	int result = 0;

	pthread_mutex_lock(&server->lock);
	while (server->n_programs && result == 0)
		result = pthread_cond_clockwait(&server->ended, &server->lock, CLOCK_MONOTONIC,
						&deadline);
	pthread_mutex_unlock(&server->lock);
}

/* ---- life ---- */

/* Programs must not talk to the service manager in the name of rptfs. They get no descriptors,
 * because all are close-on-exec. */
static void prepare_process(void)
{
	static const char *const ours[] = {
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
		"LISTEN_PID",	 "LISTEN_FDS",	 "LISTEN_FDNAMES",
	};

	prctl(PR_SET_NAME, "rptfs-helper");
	/* The terminal sends SIGINT and SIGHUP to the whole foreground group. This process ends
	 * after the worker. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		unsetenv(ours[i]);
}

int helper_serve(const struct helper_setup *setup)
{
	/* Static, because threads that hang in a file system outlive this function. */
	static struct server server = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.ended = PTHREAD_COND_INITIALIZER,
	};
	struct err err = ERR_INIT;

	prepare_process();
	server.setup = *setup;
	if (configured_files_new(&server.files, setup->config, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "helper_failed", LOG_STR("error", err.msg));
		return 1;
	}
	pthread_attr_init(&server.attributes);
	pthread_attr_setdetachstate(&server.attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&server.attributes, STACK_BYTES);
	serve(&server);
	wait_for_programs(&server);
	close(setup->socket);
	return 0;
}
