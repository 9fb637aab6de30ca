#include "control/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

#define LINE_FIRST_BYTES 4096

enum wait_result { WAIT_READY, WAIT_TIMEOUT, WAIT_CANCELED };

static enum wait_result wait_for(struct conn *conn, short events, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = conn->fd, .events = events },
			{ .fd = conn->cancel->fd, .events = POLLIN },
		};
		int64_t left_ms = deadline_ms - clock_boot_ms();

		if (left_ms <= 0)
			return WAIT_TIMEOUT;
		if (poll(fds, ARRAY_SIZE(fds), (int)left_ms) <= 0)
			continue;
		return fds[1].revents ? WAIT_CANCELED : WAIT_READY;
	}
}

static ssize_t write_out(void *cookie, const char *data, size_t len)
{
	struct conn *conn = cookie;
	int64_t deadline_ms = clock_boot_ms() + CONN_SEND_MS;
	size_t sent = 0;

	while (sent < len && !conn->broken) {
		ssize_t n = send(conn->fd, data + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			sent += (size_t)n;
		else if (errno == EAGAIN)
			conn->broken = wait_for(conn, POLLOUT, deadline_ms) != WAIT_READY;
		else
			conn->broken = errno != EINTR;
	}
	return conn->broken ? 0 : (ssize_t)len;
}

int conn_new(struct conn **ret, int fd, struct cancel *cancel, struct err *err)
{
	_cleanup_close_ int owned = fd;
	_cleanup_free_ struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return err_errno(err, "connection");
	conn->cancel = cancel;
	conn->out = fopencookie(conn, "w", (cookie_io_functions_t){ .write = write_out });
	if (!conn->out)
		return err_errno(err, "connection");
	setvbuf(conn->out, conn->buffer, _IOFBF, sizeof(conn->buffer));
	conn->fd = steal_fd(&owned);
	*ret = steal_ptr(&conn);
	return 0;
}

void conn_free(struct conn *conn)
{
	if (!conn)
		return;
	fclose(conn->out);
	close(conn->fd);
	free(conn);
}

/* Waits for bytes. Returns their number, 0 at the end of the input, or -1. */
static ssize_t receive(struct conn *conn, char *space, size_t size, int64_t deadline_ms,
		       struct err *err)
{
	for (;;) {
		ssize_t n = recv(conn->fd, space, size, MSG_DONTWAIT);

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_errno(err, "read request");
		switch (wait_for(conn, POLLIN, deadline_ms)) {
		case WAIT_READY:
			break;
		case WAIT_TIMEOUT:
			return err_set(err, ERR_BAD_DATA, "no complete request within %d s",
				       CONN_REQUEST_MS / MS_PER_S);
		case WAIT_CANCELED:
			return err_set(err, ERR_CANCELED, "rptfs is being stopped");
		}
	}
}

int conn_read_line(struct conn *conn, size_t max_bytes, char **ret, size_t *ret_len,
		   struct err *err)
{
	int64_t deadline_ms = clock_boot_ms() + CONN_REQUEST_MS;
	_cleanup_free_ char *line = NULL;
	size_t len = 0, size = 0;

	for (;;) {
		if (len == size) {
			if (size > max_bytes)
				return err_set(err, ERR_BAD_DATA, "request longer than %zu bytes",
					       max_bytes);
			size = size ? 2 * size : LINE_FIRST_BYTES;
			if (size > max_bytes)
				size = max_bytes + 1;
			char *larger = realloc(line, size);
			if (!larger)
				return err_errno(err, "read request");
			line = larger;
		}
		ssize_t n = receive(conn, line + len, size - len, deadline_ms, err);
		if (n < 0)
			return -1;
		if (n == 0)
			return err_set(err, ERR_BAD_DATA, "request without an end of line");
		char *end = memchr(line + len, '\n', (size_t)n);
		if (end) {
			*ret_len = (size_t)(end - line);
			*ret = steal_ptr(&line);
			return 0;
		}
		len += (size_t)n;
	}
}

int conn_flush(struct conn *conn, struct err *err)
{
	if (fflush(conn->out) != 0 || conn->broken)
		return err_set(err, ERR_CANCELED, "the client does not read the answer");
	return 0;
}

bool conn_is_gone(struct conn *conn)
{
	struct pollfd fd = { .fd = conn->fd };

	return conn->broken || (poll(&fd, 1, 0) > 0 && fd.revents & (POLLHUP | POLLERR));
}

void conn_send_line(int fd, const char *line)
{
	if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		/* The peer has hung up; the outcome is logged elsewhere. */
	}
}
