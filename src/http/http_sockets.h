/*
 * http_sockets: the sockets of libcurl that are in the epoll set. Used by the engine's thread alone.
 * Internal to http*.c.
 */
#ifndef HTTP_HTTP_SOCKETS_H
#define HTTP_HTTP_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_sockets {
	int epoll_fd;  /* borrowed */
	bool *watched; /* owned; by number */
	size_t n_watched;
};

void http_sockets_release(struct http_sockets *sockets);

/* Waits for these events of epoll(7) from now on. -1: out of memory, or a limit of the system. */
int http_sockets_watch(struct http_sockets *sockets, int fd, uint32_t events);
void http_sockets_unwatch(struct http_sockets *sockets, int fd);
bool http_sockets_is_watched(const struct http_sockets *sockets, int fd);

/* The one that connects these two TCP ports, or -1. */
int http_sockets_find(const struct http_sockets *sockets, int local_port, int peer_port);

#endif
