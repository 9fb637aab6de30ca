#include "http/http_idle.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/util.h"

void http_idle_remove(struct http_idle *idle, int fd)
{
	for (size_t i = 0; i < idle->n; i++) {
		if (idle->connections[i].fd == fd) {
			idle->connections[i] = idle->connections[--idle->n];
			return;
		}
	}
}

/*
 * Not with shutdown(2), which the sandbox forbids: there is a listening socket that outlives this
 * process. A TCP connection is disconnected, which also discards the data that has arrived. A UNIX
 * socket cannot be: one whose other end is closed takes its place.
 */
void http_idle_shut(int fd)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };
	int pair[2];

	if (connect(fd, &none, sizeof(none)) == 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return;
	_cleanup_close_ int closed = pair[0];
	close(pair[1]);
	dup3(closed, fd, O_CLOEXEC);
}

void http_idle_add(struct http_idle *idle, int fd, bool is_http1)
{
	short events = is_http1 ? POLLIN : 0;

	http_idle_remove(idle, fd);
	if (idle->n < HTTP_IDLE_MAX)
		idle->connections[idle->n++] = (struct pollfd){ .fd = fd, .events = events };
	else if (is_http1)
		http_idle_shut(fd);
}

void http_idle_purge(struct http_idle *idle)
{
	if (!idle->n || poll(idle->connections, idle->n, 0) <= 0)
		return;
	for (size_t i = idle->n; i-- > 0;) {
		if (!idle->connections[i].revents)
			continue;
		http_idle_shut(idle->connections[i].fd);
		idle->connections[i] = idle->connections[--idle->n];
	}
}

void http_idle_shut_all(struct http_idle *idle, bool (*is_used)(void *arg, int fd), void *arg)
{
	for (size_t i = idle->n; i-- > 0;) {
		if (is_used(arg, idle->connections[i].fd))
			continue;
		http_idle_shut(idle->connections[i].fd);
		idle->connections[i] = idle->connections[--idle->n];
	}
}
