#include "http/http_idle.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/util.h"

int http_idle_init(struct http_idle *idle, struct err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_errno(err, "HTTP engine: socketpair");
	close(pair[1]);
	idle->dead = pair[0];
	return 0;
}

void http_idle_release(struct http_idle *idle)
{
	close_cleanup(&idle->dead);
}

void http_idle_remove(struct http_idle *idle, int fd)
{
	for (size_t i = 0; i < idle->n; i++) {
		if (idle->connections[i].fd == fd) {
			idle->connections[i] = idle->connections[--idle->n];
			return;
		}
	}
}

void http_idle_cut(struct http_idle *idle, int fd)
{
	dup3(idle->dead, fd, O_CLOEXEC);
}

void http_idle_add(struct http_idle *idle, int fd, bool is_http1)
{
	short events = is_http1 ? POLLIN : 0;

	http_idle_remove(idle, fd);
	if (idle->n < HTTP_IDLE_MAX)
		idle->connections[idle->n++] = (struct pollfd){ .fd = fd, .events = events };
	else if (is_http1)
		http_idle_cut(idle, fd);
}

void http_idle_purge(struct http_idle *idle)
{
	if (!idle->n || poll(idle->connections, idle->n, 0) <= 0)
		return;
	for (size_t i = idle->n; i-- > 0;) {
		if (!idle->connections[i].revents)
			continue;
		http_idle_cut(idle, idle->connections[i].fd);
		idle->connections[i] = idle->connections[--idle->n];
	}
}

void http_idle_cut_all(struct http_idle *idle, bool (*is_used)(void *arg, int fd), void *arg)
{
	for (size_t i = idle->n; i-- > 0;) {
		if (is_used(arg, idle->connections[i].fd))
			continue;
		http_idle_cut(idle, idle->connections[i].fd);
		idle->connections[i] = idle->connections[--idle->n];
	}
}
