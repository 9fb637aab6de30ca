/*
 * The worker's side of the visitor.
 */
#include "mount/visitor/visitor.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/log.h"
#include "mount/visitor/visitor_protocol.h"

/* The visitor's calls are answered from memory. After this time the worker gives up on it. The
 * first answer includes its start, which takes long on a machine that is short of CPU or memory. */
#define ANSWER_MAX_S	   5
#define FIRST_ANSWER_MAX_S 30

/* After the visitor has died, a request waits RESTART_MS for a new one. After FAILURES_MAX deaths
 * in a row there is no visitor for REST_MS. */
#define RESTART_MS   100
#define FAILURES_MAX 3
#define REST_MS	     10000

struct visitor {
	int (*start)(void *arg, int socket);
	void *arg;
	int socket; /* owned; -1: not running */
	bool has_answered;
	bool is_retired;
	unsigned failures;     /* requests in a row without an answer */
	int64_t rest_until_ms; /* clock_boot_ms() */
};

int visitor_new(struct visitor **ret, int (*start)(void *arg, int socket), void *arg,
		struct err *err)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));

	if (!visitor)
		return err_set(err, ERR_INTERNAL, "visitor: out of memory");
	visitor->start = start;
	visitor->arg = arg;
	visitor->socket = -1;
	*ret = visitor;
	return 0;
}

void visitor_retire(struct visitor *visitor)
{
	close_cleanup(&visitor->socket);
	visitor->socket = -1;
	visitor->is_retired = true;
}

void visitor_free(struct visitor *visitor)
{
	if (!visitor)
		return;
	close_cleanup(&visitor->socket);
	free(visitor);
}

static bool limit_wait(int socket, int seconds)
{
	const struct timeval limit = { .tv_sec = seconds };

	return setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0;
}

/* Returns false if there is no visitor and none may be started now. */
static bool ensure_started(struct visitor *visitor)
{
	int pair[2];

	if (visitor->socket >= 0)
		return true;
	if (visitor->is_retired || clock_boot_ms() < visitor->rest_until_ms ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	_cleanup_close_ int ours = pair[0];
	_cleanup_close_ int theirs = pair[1];
	if (!limit_wait(ours, FIRST_ANSWER_MAX_S) || visitor->start(visitor->arg, theirs) < 0)
		return false;
	visitor->socket = steal_fd(&ours);
	visitor->has_answered = false;
	return true;
}

/* Returns the negative errno. */
static int give_up(struct visitor *visitor, int error)
{
	close(steal_fd(&visitor->socket));
	log_event(LOG_LEVEL_WARNING, "visitor_lost", LOG_STR("error", strerror(error)));
	if (++visitor->failures < FAILURES_MAX)
		return -error;
	visitor->failures = 0;
	visitor->rest_until_ms = clock_boot_ms() + REST_MS;
	return -error;
}

static int ask_once(struct visitor *visitor, const struct visitor_request *request, size_t len)
{
	visitor_reply reply;
	ssize_t got;

	if (!ensure_started(visitor))
		return -ENOTCONN;
	if (send(visitor->socket, request, len, MSG_NOSIGNAL) < 0)
		return give_up(visitor, ENOTCONN);
	do {
		got = recv(visitor->socket, &reply, sizeof(reply), 0);
	} while (got < 0 && errno == EINTR);
	if (got != sizeof(reply))
		return give_up(visitor, got < 0 && errno == EAGAIN ? ETIMEDOUT : ENOTCONN);
	if (!visitor->has_answered)
		visitor->has_answered = limit_wait(visitor->socket, ANSWER_MAX_S);
	visitor->failures = 0;
	return reply;
}

/* Repeats the request with a new visitor if the visitor has died: watchers would miss a move that
 * is made in another way. */
static int ask(struct visitor *visitor, const struct visitor_request *request, size_t len)
{
	int result = ask_once(visitor, request, len);

	while (result == -ENOTCONN && visitor->failures) {
		usleep(RESTART_MS * 1000);
		result = ask_once(visitor, request, len);
	}
	return result;
}

static int ask_about(struct visitor *visitor, enum visitor_verb verb, const char *path,
		     const char *to)
{
	struct visitor_request request = { .verb = (char)verb };
	size_t len = strlen(path) + 1, to_len = strlen(to) + 1;

	if (len > PATH_MAX || to_len > PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(request.paths, path, len);
	memcpy(request.paths + len, to, to_len);
	return ask(visitor, &request, offsetof(struct visitor_request, paths) + len + to_len);
}

int visitor_look(struct visitor *visitor, const char *path)
{
	return ask_about(visitor, VISITOR_LOOK, path, "");
}

int visitor_move(struct visitor *visitor, const char *from, const char *to)
{
	return ask_about(visitor, VISITOR_MOVE, from, to);
}

int visitor_check(struct visitor *visitor, const char *path)
{
	return ask_about(visitor, VISITOR_CHECK, path, "");
}

int visitor_list(struct visitor *visitor, const char *path)
{
	return ask_about(visitor, VISITOR_LIST, path, "");
}

int visitor_remove(struct visitor *visitor, const char *path)
{
	return ask_about(visitor, VISITOR_REMOVE, path, "");
}
