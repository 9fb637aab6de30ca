/*
 * http_idle: closes kept connections on which data arrives, or that may lead nowhere any more.
 *
 * A server that sends more than it announced leaves bytes on the connection, which would be taken
 * for the response to the next request; libcurl 7.88 does not check. That is so with HTTP/1 only:
 * with HTTP/2 each frame names its stream. Used by the engine's thread alone. Internal to http*.c.
 */
#ifndef HTTP_HTTP_IDLE_H
#define HTTP_HTTP_IDLE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* As many as libcurl keeps. */
#define HTTP_IDLE_MAX 256

struct http_idle {
	struct pollfd connections[HTTP_IDLE_MAX];
	size_t n;
	int dead; /* owned; a socket whose peer is closed */
};

int http_idle_init(struct http_idle *idle, struct err *err);
void http_idle_release(struct http_idle *idle);

void http_idle_add(struct http_idle *idle, int fd, bool is_http1);

/* The connection is used again, or closed. */
void http_idle_remove(struct http_idle *idle, int fd);

/* Cuts the connections on which data has arrived: libcurl then finds them dead. */
void http_idle_purge(struct http_idle *idle);

/* Cut one connection, or all for which is_used() is false: a dead socket takes its number. The
 * sandbox forbids shutdown(2), which would also close the control socket to everybody. */
void http_idle_cut(struct http_idle *idle, int fd);
void http_idle_cut_all(struct http_idle *idle, bool (*is_used)(void *arg, int fd), void *arg);

#endif
