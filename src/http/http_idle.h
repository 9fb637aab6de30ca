/*
 * http_idle: connections that wait for their next request, and must be silent meanwhile.
 *
 * A server that sends more than it announced leaves bytes behind, which would be taken for the
 * answer to the next request; libcurl up to 7.88 does not look. Used by the engine's thread alone,
 * for HTTP/1 only: with HTTP/2 every byte says whose it is. Internal to http*.c.
 */
#ifndef HTTP_HTTP_IDLE_H
#define HTTP_HTTP_IDLE_H

#include <poll.h>
#include <stddef.h>

/* As many as libcurl keeps. */
#define HTTP_IDLE_MAX 256

struct http_idle {
	struct pollfd connections[HTTP_IDLE_MAX];
	size_t n;
};

void http_idle_add(struct http_idle *idle, int fd);

/* It is used again, or closed. */
void http_idle_remove(struct http_idle *idle, int fd);

/* Ends the connections on which something arrived: libcurl then finds them dead. */
void http_idle_purge(struct http_idle *idle);

#endif
