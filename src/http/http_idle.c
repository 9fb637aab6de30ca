#include "http/http_idle.h"

#include <errno.h>
#include <sys/socket.h>

void http_idle_remove(struct http_idle *idle, int fd)
{
	for (size_t i = 0; i < idle->n; i++) {
		if (idle->connections[i].fd == fd) {
			idle->connections[i] = idle->connections[--idle->n];
			return;
		}
	}
}

void http_idle_shut(int fd)
{
	char unasked[4096];
	ssize_t got;

	/* Data that has arrived could still be read after the shutdown. */
	shutdown(fd, SHUT_RDWR);
	do {
		got = recv(fd, unasked, sizeof(unasked), MSG_DONTWAIT);
	} while (got > 0 || (got < 0 && errno == EINTR));
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
