/*
 * http_sockets: the sockets of libcurl that are in the epoll set. Used by the engine's thread
 * alone. Internal to http*.c.
 */
#ifndef HTTP_HTTP_SOCKETS_H
#define HTTP_HTTP_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_socket {
	bool is_watched;
	void *owner;	     /* borrowed; who had it watched last; NULL: none */
	uint64_t owned_from; /* bytes that it had received before */
};

struct http_sockets {
	int epoll_fd;		       /* borrowed */
	struct http_socket *by_number; /* owned */
	size_t n;
};

void http_sockets_release(struct http_sockets *sockets);

/* Waits for these events of epoll(7) from now on. -1: out of memory, or a limit of the system. */
int http_sockets_watch(struct http_sockets *sockets, int fd, uint32_t events, void *owner);
/* Another socket has taken the number of a watched one, by dup2(2). */
void http_sockets_watch_again(struct http_sockets *sockets, int fd);
void http_sockets_unwatch(struct http_sockets *sockets, int fd);
bool http_sockets_is_watched(const struct http_sockets *sockets, int fd);

void *http_sockets_owner(const struct http_sockets *sockets, int fd);
/* The owner goes away. */
void http_sockets_disown(struct http_sockets *sockets, int fd, const void *owner);

/* What the socket has received for its owner, read or not; -1: unknown, because it is not TCP. */
int64_t http_sockets_received(const struct http_sockets *sockets, int fd);

/* The one that connects these two TCP ports, or -1. */
int http_sockets_find(const struct http_sockets *sockets, int local_port, int peer_port);

#endif
