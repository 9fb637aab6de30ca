#include "worker/helper_client.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/pass_fds.h"
#include "base/secret.h"
#include "base/util.h"
#include "helper/helper_protocol.h"

/* The helper has its own limit, which is lower and gives a better message. */
#define PROGRAM_TIMEOUT_MS (HELPER_TIMEOUT_MS + 5 * MS_PER_S)

struct helper_client {
	struct helper helper;
	int (*start)(void *arg, enum helper_role role, int socket);
	void *arg;	       /* of start; borrowed */
	struct cancel *cancel; /* borrowed; NULL: none */

	/* A leaf. Sending a request under it does not block. */
	pthread_mutex_t lock;
	int sockets[HELPER_ROLES]; /* owned; guarded by lock; -1: none was started, or it died */
};

struct request {
	char text[HELPER_REQUEST_MAX];
	size_t len;
	int inotify;   /* borrowed; -1: none */
	int wait_ms;   /* -1: as long as it takes */
	int cancel_fd; /* borrowed; -1: none */
};

struct answer {
	char *output; /* HELPER_OUTPUT_MAX bytes; NULL: none is expected */
	size_t used;
	void *result; /* result_bytes; NULL: none is expected */
	size_t result_bytes;
	int fd; /* owned; -1: none came */
	bool is_done;
};

/* ---- sending a request ---- */

/* If the start fails later, the other end of the socket is closed. */
static int start_helper(struct helper_client *client, enum helper_role role, struct err *err)
{
	int pair[2];

	if (pass_fds_pair(pair, err) < 0)
		return -1;
	_cleanup_close_ int ours = pair[0];
	_cleanup_close_ int theirs = pair[1];
	if (client->start(client->arg, role, theirs) < 0)
		return err_set(err, ERR_UNREACHABLE, "the keeper is gone");
	client->sockets[role] = steal_fd(&ours);
	return 0;
}

/* Returns 0 or an errno. */
static int send_packet(int socket, const struct request *request, int reply)
{
	const int fds[HELPER_FDS_MAX] = { reply, request->inotify };

	return pass_fds_send(socket, request->text, request->len, fds, HELPER_FDS_MAX,
			     MSG_DONTWAIT) < 0
		       ? errno
		       : 0;
}

static bool is_gone(int failure)
{
	return failure == EPIPE || failure == ECONNRESET || failure == ENOTCONN;
}

/* Starts a helper if there is none, or if it has died. */
static int send_request(struct helper_client *client, const struct request *request, int reply,
			struct err *err)
{
	enum helper_role role = request->text[0] == HELPER_PROGRAM ? HELPER_EXECUTOR
								   : HELPER_OPENER;
	int *socket = &client->sockets[role];
	int failure = ENOTCONN;

	pthread_mutex_lock(&client->lock);
	if (*socket >= 0)
		failure = send_packet(*socket, request, reply);
	int rc = 0;
	if (is_gone(failure)) {
		close_cleanup(socket);
		*socket = -1;
		rc = start_helper(client, role, err);
		if (rc == 0)
			failure = send_packet(*socket, request, reply);
	}
	pthread_mutex_unlock(&client->lock);
	if (rc < 0)
		return -1;
	if (is_gone(failure))
		return err_set(err, ERR_UNREACHABLE, "there is no helper");
	if (failure == EAGAIN)
		return err_set(err, ERR_BUSY, "too many requests are waiting for the helper");
	errno = failure;
	return failure ? err_errno(err, "the helper") : 0;
}

/* ---- receiving the answer ---- */

static int take_error(const char *packet, size_t len, struct err *err)
{
	enum err_kind kind = len ? (enum err_kind)packet[0] : ERR_INTERNAL;
	bool is_known = kind == ERR_DENIED || kind == ERR_UNREACHABLE || kind == ERR_BUSY ||
			kind == ERR_NOT_FOUND || kind == ERR_BAD_DATA;

	return err_set(err, is_known ? kind : ERR_INTERNAL, "%.*s", len ? (int)len - 1 : 0,
		       packet + 1);
}

static int take_packet(struct answer *answer, const char *packet, size_t len, struct err *err)
{
	switch (packet[0]) {
	case HELPER_OUTPUT:
		if (!answer->output || len - 1 > HELPER_OUTPUT_MAX - answer->used)
			return err_set(err, ERR_DENIED, "more than %d KiB of output",
				       HELPER_OUTPUT_MAX / 1024);
		memcpy(answer->output + answer->used, packet + 1, len - 1);
		answer->used += len - 1;
		return 0;
	case HELPER_DONE:
		if (len - 1 != answer->result_bytes)
			return err_set(err, ERR_INTERNAL, "the helper is of another version");
		if (answer->result)
			memcpy(answer->result, packet + 1, len - 1);
		answer->is_done = true;
		return 0;
	default:
		return take_error(packet + 1, len - 1, err);
	}
}

static int receive(int reply, struct answer *answer, struct err *err)
{
	char packet[1 + HELPER_PACKET_MAX];
	int fd;

	ssize_t len = pass_fds_receive(reply, packet, sizeof(packet), &fd, 1, 0);
	_cleanup_close_ int received = fd;
	if (len < 0)
		return err_errno(err, "the helper");
	if (len == 0)
		return err_set(err, ERR_UNREACHABLE, "there is no helper, or it died");
	if (answer->fd < 0)
		answer->fd = steal_fd(&received);
	int rc = take_packet(answer, packet, (size_t)len, err);
	secret_wipe(packet, (size_t)len);
	return rc;
}

static int wait_for_answer(const struct request *request, int reply, struct answer *answer,
			   struct err *err)
{
	int64_t deadline_ms = clock_boot_ms() + request->wait_ms;
	struct pollfd pfds[] = {
		{ .fd = reply, .events = POLLIN },
		{ .fd = request->cancel_fd, .events = POLLIN },
	};
	int64_t left_ms = -1;

	while (!answer->is_done) {
		if (request->wait_ms >= 0)
			left_ms = deadline_ms - clock_boot_ms();
		if (request->wait_ms >= 0 && left_ms <= 0)
			return err_set(err, ERR_UNREACHABLE, "the helper does not answer");
		if (poll(pfds, ARRAY_SIZE(pfds), (int)left_ms) <= 0)
			continue;
		if (pfds[1].revents)
			return err_set(err, ERR_CANCELED, "canceled");
		if (receive(reply, answer, err) < 0)
			return -1;
	}
	return 0;
}

static int ask(struct helper_client *client, const struct request *request, struct answer *answer,
	       struct err *err)
{
	int pair[2];

	if (pass_fds_pair(pair, err) < 0)
		return -1;
	_cleanup_close_ int ours = pair[0];
	_cleanup_close_ int theirs = pair[1];
	if (send_request(client, request, theirs, err) < 0)
		return -1;
	close(steal_fd(&theirs));
	return wait_for_answer(request, ours, answer, err);
}

/* ---- the requests ---- */

static int run_program(struct helper *base, struct cancel *cancel, const char *name,
		       const char *file, const char *entry, char *ret_output, size_t *ret_len,
		       struct err *err)
{
	struct helper_client *client = container_of(base, struct helper_client, helper);
	struct answer answer = { .output = ret_output, .fd = -1 };
	struct request request = {
		.inotify = -1,
		.wait_ms = PROGRAM_TIMEOUT_MS,
		.cancel_fd = cancel->fd,
	};

	int len = snprintf(request.text, sizeof(request.text), "%c%s%c%s%c%s", HELPER_PROGRAM, name,
			   '\0', file ? file : "", '\0', entry);
	if (len < 0 || (size_t)len >= sizeof(request.text))
		return err_set(err, ERR_DENIED, "the names of file and entry are too long");
	request.len = (size_t)len + 1;
	int rc = ask(client, &request, &answer, err);
	close_cleanup(&answer.fd);
	if (rc == 0)
		*ret_len = answer.used;
	return rc;
}

/* Waits as long as the file system takes, like open(2). */
static int ask_about_path(struct helper *base, char kind, const char *path, int inotify,
			  struct answer *answer, struct err *err)
{
	struct helper_client *client = container_of(base, struct helper_client, helper);
	struct request request = {
		.inotify = inotify,
		.wait_ms = -1,
		.cancel_fd = client->cancel ? client->cancel->fd : -1,
	};

	int len = snprintf(request.text, sizeof(request.text), "%c%s", kind, path);
	if (len < 0 || (size_t)len >= sizeof(request.text))
		return err_set(err, ERR_BAD_DATA, "the name is too long");
	request.len = (size_t)len + 1;
	return ask(client, &request, answer, err);
}

static int ask_for_fd(struct helper *base, char kind, const char *path, struct err *err)
{
	struct answer answer = { .fd = -1 };

	int rc = ask_about_path(base, kind, path, -1, &answer, err);
	_cleanup_close_ int fd = answer.fd;
	if (rc == 0 && fd < 0)
		return err_set(err, ERR_INTERNAL, "the answer has no descriptor");
	return rc < 0 ? -1 : steal_fd(&fd);
}

static int open_file(struct helper *base, const char *path, struct err *err)
{
	return ask_for_fd(base, HELPER_OPEN, path, err);
}

static int find_socket(struct helper *base, const char *path, struct err *err)
{
	return ask_for_fd(base, HELPER_UNIX_SOCKET, path, err);
}

static int look(struct helper *base, const char *path, bool follow, struct stat *ret,
		struct err *err)
{
	struct stat st;
	struct answer answer = { .result = &st, .result_bytes = sizeof(st), .fd = -1 };

	int rc = ask_about_path(base, follow ? HELPER_STAT : HELPER_LSTAT, path, -1, &answer, err);
	close_cleanup(&answer.fd);
	if (rc == 0)
		*ret = st;
	return rc;
}

static int watch(struct helper *base, int inotify, const char *directory, struct err *err)
{
	int wd = -1;
	struct answer answer = { .result = &wd, .result_bytes = sizeof(wd), .fd = -1 };

	int rc = ask_about_path(base, HELPER_WATCH, directory, inotify, &answer, err);
	close_cleanup(&answer.fd);
	return rc < 0 ? -1 : wd;
}

/* ---- life ---- */

int helper_client_new(struct helper **ret,
		      int (*start)(void *arg, enum helper_role role, int socket), void *arg,
		      struct cancel *cancel, struct err *err)
{
	struct helper_client *client = calloc(1, sizeof(*client));

	if (!client)
		return err_set(err, ERR_INTERNAL, "helper: out of memory");
	client->helper.run_program = run_program;
	client->helper.open_file = open_file;
	client->helper.look = look;
	client->helper.find_socket = find_socket;
	client->helper.watch = watch;
	client->start = start;
	client->arg = arg;
	client->cancel = cancel;
	for (size_t i = 0; i < ARRAY_SIZE(client->sockets); i++)
		client->sockets[i] = -1;
	pthread_mutex_init(&client->lock, NULL);
	*ret = &client->helper;
	return 0;
}

void helper_client_free(struct helper *base)
{
	if (!base)
		return;
	struct helper_client *client = container_of(base, struct helper_client, helper);
	for (size_t i = 0; i < ARRAY_SIZE(client->sockets); i++)
		close_cleanup(&client->sockets[i]);
	pthread_mutex_destroy(&client->lock);
	free(client);
}
