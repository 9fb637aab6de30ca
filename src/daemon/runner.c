/* The worker's side of the runner; any thread. */
#include "daemon/runner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/secret.h"
#include "base/util.h"
#include "daemon/channel.h"

/* The runner's own limit comes first, with a better message. */
#define REPLY_TIMEOUT_MS (RUNNER_TIMEOUT_MS + 5 * MS_PER_S)
#define REQUEST_MAX	 8192

struct worker_runner {
	struct runner runner;
	int channel; /* borrowed; to the keeper */

	/* A leaf. Nothing that may block happens under it: what is sent over the sockets is one
	 * small packet, or an error. */
	pthread_mutex_t lock;
	int socket; /* owned; guarded by lock; -1: no runner is known */
};

/* The keeper starts a runner at the other end, or closes it. */
static int ask_keeper(struct worker_runner *runner, struct err *err)
{
	int pair[2];

	if (channel_new(pair, err) < 0)
		return -1;
	_cleanup_close_ int ours = pair[0];
	_cleanup_close_ int theirs = pair[1];
	if (channel_send(runner->channel, CHANNEL_RUNNER, theirs) < 0)
		return err_set(err, ERR_UNREACHABLE, "the keeper is gone");
	runner->socket = steal_fd(&ours);
	return 0;
}

/* 0 or errno. */
static int send_packet(int socket, const char *request, size_t len, int fd_to_pass)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)request, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd_to_pass, sizeof(int));
	return sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

static bool is_gone(int failure)
{
	return failure == EPIPE || failure == ECONNRESET || failure == ENOTCONN;
}

/* To the runner that there is, or to a new one if that has died. */
static int send_request(struct worker_runner *runner, const char *request, size_t len,
			int fd_to_pass, struct err *err)
{
	int failure = ENOTCONN;

	pthread_mutex_lock(&runner->lock);
	if (runner->socket >= 0)
		failure = send_packet(runner->socket, request, len, fd_to_pass);
	int rc = 0;
	if (is_gone(failure)) {
		close_cleanup(&runner->socket);
		runner->socket = -1;
		rc = ask_keeper(runner, err);
		if (rc == 0)
			failure = send_packet(runner->socket, request, len, fd_to_pass);
	}
	pthread_mutex_unlock(&runner->lock);
	if (rc < 0)
		return -1;
	if (is_gone(failure))
		return err_set(err, ERR_UNREACHABLE, "there is no runner");
	if (failure == EAGAIN)
		return err_set(err, ERR_BUSY, "too many programs are waiting to be run");
	errno = failure;
	return failure ? err_errno(err, "the runner") : 0;
}

/* ---- one request ---- */

struct answer {
	char *output; /* RUNNER_OUTPUT_MAX bytes */
	size_t used;
	bool is_done;
};

static int take_error(const char *packet, size_t len, struct err *err)
{
	enum err_kind kind = len ? (enum err_kind)packet[0] : ERR_INTERNAL;
	bool is_known = kind == ERR_DENIED || kind == ERR_UNREACHABLE || kind == ERR_BUSY;

	return err_set(err, is_known ? kind : ERR_INTERNAL, "%.*s", len ? (int)len - 1 : 0,
		       packet + 1);
}

static int take_packet(struct answer *answer, const char *packet, size_t len, struct err *err)
{
	switch (packet[0]) {
	case RUNNER_OUTPUT:
		if (len - 1 > RUNNER_OUTPUT_MAX - answer->used)
			return err_set(err, ERR_DENIED, "more than %d KiB of output",
				       RUNNER_OUTPUT_MAX / 1024);
		memcpy(answer->output + answer->used, packet + 1, len - 1);
		answer->used += len - 1;
		return 0;
	case RUNNER_DONE:
		answer->is_done = true;
		return 0;
	default:
		return take_error(packet + 1, len - 1, err);
	}
}

static int receive(int reply, struct answer *answer, struct err *err)
{
	char packet[1 + RUNNER_PACKET_MAX];
	ssize_t len = recv(reply, packet, sizeof(packet), 0);

	if (len < 0)
		return errno == EINTR ? 0 : err_errno(err, "the runner");
	if (len == 0)
		return err_set(err, ERR_UNREACHABLE, "there is no runner, or it died");
	int rc = take_packet(answer, packet, (size_t)len, err);
	secret_wipe(packet, (size_t)len);
	return rc;
}

static int wait_for_answer(int reply, struct cancel *cancel, struct answer *answer, struct err *err)
{
	int64_t deadline_ms = clock_boot_ms() + REPLY_TIMEOUT_MS;
	struct pollfd pfds[] = {
		{ .fd = reply, .events = POLLIN },
		{ .fd = cancel->fd, .events = POLLIN },
	};
	int64_t left_ms;

	while (!answer->is_done) {
		left_ms = deadline_ms - clock_boot_ms();
		if (left_ms <= 0)
			return err_set(err, ERR_UNREACHABLE, "the runner does not answer");
		if (poll(pfds, ARRAY_SIZE(pfds), (int)left_ms) <= 0)
			continue;
		if (pfds[1].revents)
			return err_set(err, ERR_CANCELED, "canceled");
		if (receive(reply, answer, err) < 0)
			return -1;
	}
	return 0;
}

static int credential_process(struct runner *base, struct cancel *cancel,
			      const char *credentials_file, const char *profile, char *ret_output,
			      size_t *ret_len, struct err *err)
{
	struct worker_runner *runner = container_of(base, struct worker_runner, runner);
	struct answer answer = { .output = ret_output };
	char request[REQUEST_MAX];
	int pair[2];

	int len = snprintf(request, sizeof(request), "%s%c%s",
			   credentials_file ? credentials_file : "", '\0', profile);
	if (len < 0 || (size_t)len >= sizeof(request))
		return err_set(err, ERR_DENIED, "the names of file and profile are too long");
	if (channel_new(pair, err) < 0)
		return -1;
	_cleanup_close_ int ours = pair[0];
	_cleanup_close_ int theirs = pair[1];
	if (send_request(runner, request, (size_t)len + 1, theirs, err) < 0)
		return -1;
	close(steal_fd(&theirs));
	if (wait_for_answer(ours, cancel, &answer, err) < 0)
		return -1;
	*ret_len = answer.used;
	return 0;
}

/* ---- life ---- */

int runner_new(struct runner **ret, int channel, struct err *err)
{
	struct worker_runner *runner = calloc(1, sizeof(*runner));

	if (!runner)
		return err_set(err, ERR_INTERNAL, "runner: out of memory");
	runner->runner.credential_process = credential_process;
	runner->channel = channel;
	runner->socket = -1;
	pthread_mutex_init(&runner->lock, NULL);
	*ret = &runner->runner;
	return 0;
}

void runner_free(struct runner *base)
{
	if (!base)
		return;
	struct worker_runner *runner = container_of(base, struct worker_runner, runner);
	close_cleanup(&runner->socket);
	pthread_mutex_destroy(&runner->lock);
	free(runner);
}
