#include "http/http_sockets.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

void http_sockets_release(struct http_sockets *sockets)
{
	free(sockets->watched);
}

bool http_sockets_is_watched(const struct http_sockets *sockets, int fd)
{
	return (size_t)fd < sockets->n_watched && sockets->watched[fd];
}

/* Makes room for the socket's number. */
static bool reserve(struct http_sockets *sockets, int fd)
{
	size_t n = sockets->n_watched ? sockets->n_watched : 64;

	while (n <= (size_t)fd)
		n *= 2;
	if (n == sockets->n_watched)
		return true;
	bool *larger = reallocarray(sockets->watched, n, sizeof(*larger));
	if (!larger)
		return false;
	memset(larger + sockets->n_watched, 0, (n - sockets->n_watched) * sizeof(*larger));
	sockets->watched = larger;
	sockets->n_watched = n;
	return true;
}

int http_sockets_watch(struct http_sockets *sockets, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (!reserve(sockets, fd) ||
	    epoll_ctl(sockets->epoll_fd, sockets->watched[fd] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
		      &event) < 0)
		return -1;
	sockets->watched[fd] = true;
	return 0;
}

/* libcurl may remove a socket after it has closed it, when the number belongs to another thread's
 * file already. So the number is touched only while the socket is known to be open. */
void http_sockets_unwatch(struct http_sockets *sockets, int fd)
{
	if (!http_sockets_is_watched(sockets, fd))
		return;
	epoll_ctl(sockets->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	sockets->watched[fd] = false;
}

static int port_of(int (*get)(int fd, struct sockaddr *address, socklen_t *len), int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = { .any = { .sa_family = AF_UNSPEC } };
	socklen_t len = sizeof(address);

	if (get(fd, &address.any, &len) < 0)
		return -1;
	if (address.any.sa_family == AF_INET)
		return ntohs(address.v4.sin_port);
	return address.any.sa_family == AF_INET6 ? ntohs(address.v6.sin6_port) : -1;
}

int http_sockets_find(const struct http_sockets *sockets, int local_port, int peer_port)
{
	for (size_t fd = 0; local_port > 0 && fd < sockets->n_watched; fd++) {
		if (sockets->watched[fd] && port_of(getsockname, (int)fd) == local_port &&
		    port_of(getpeername, (int)fd) == peer_port)
			return (int)fd;
	}
	return -1;
}
