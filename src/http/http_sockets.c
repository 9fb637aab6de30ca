#include "http/http_sockets.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

void http_sockets_release(struct http_sockets *sockets)
{
	free(sockets->by_number);
}

bool http_sockets_is_watched(const struct http_sockets *sockets, int fd)
{
	return (size_t)fd < sockets->n && sockets->by_number[fd].is_watched;
}

/* Makes room for the socket's number. */
static bool reserve(struct http_sockets *sockets, int fd)
{
	size_t n = sockets->n ? sockets->n : 64;

	while (n <= (size_t)fd)
		n *= 2;
	if (n == sockets->n)
		return true;
	struct http_socket *larger = reallocarray(sockets->by_number, n, sizeof(*larger));
	if (!larger)
		return false;
	memset(larger + sockets->n, 0, (n - sockets->n) * sizeof(*larger));
	sockets->by_number = larger;
	sockets->n = n;
	return true;
}

/* Returns false if it is not TCP. */
static bool received(int fd, uint64_t *ret)
{
	struct tcp_info info = { .tcpi_bytes_received = 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(*ret))
		return false;
	*ret = info.tcpi_bytes_received;
	return true;
}

int http_sockets_watch(struct http_sockets *sockets, int fd, uint32_t events, void *owner)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (!reserve(sockets, fd))
		return -1;
	struct http_socket *socket = &sockets->by_number[fd];
	if (epoll_ctl(sockets->epoll_fd, socket->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
		      &event) < 0)
		return -1;
	if (socket->owner != owner && !received(fd, &socket->owned_from))
		socket->owned_from = 0;
	socket->owner = owner;
	socket->is_watched = true;
	return 0;
}

void http_sockets_watch_again(struct http_sockets *sockets, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	epoll_ctl(sockets->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* libcurl may remove a socket after it has closed it, when the number belongs to another thread's
 * file already. So the number is touched only while the socket is known to be open. */
void http_sockets_unwatch(struct http_sockets *sockets, int fd)
{
	if (!http_sockets_is_watched(sockets, fd))
		return;
	epoll_ctl(sockets->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	sockets->by_number[fd] = (struct http_socket){ .is_watched = false };
}

void *http_sockets_owner(const struct http_sockets *sockets, int fd)
{
	return (size_t)fd < sockets->n ? sockets->by_number[fd].owner : NULL;
}

void http_sockets_disown(struct http_sockets *sockets, int fd, const void *owner)
{
	if (http_sockets_owner(sockets, fd) == owner)
		sockets->by_number[fd].owner = NULL;
}

int64_t http_sockets_received(const struct http_sockets *sockets, int fd)
{
	uint64_t bytes;

	if (!http_sockets_is_watched(sockets, fd) || !received(fd, &bytes))
		return -1;
	return (int64_t)(bytes - sockets->by_number[fd].owned_from);
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
	for (size_t fd = 0; local_port > 0 && fd < sockets->n; fd++) {
		if (sockets->by_number[fd].is_watched &&
		    port_of(getsockname, (int)fd) == local_port &&
		    port_of(getpeername, (int)fd) == peer_port)
			return (int)fd;
	}
	return -1;
}
