/*
 * http_host: which transfers may run now.
 *
 * At most HTTP_HOST_CONNECTIONS transfers run to one host, HTTP_HOST_STREAMS once it speaks HTTP/2;
 * the others wait, first come, first served. A transfer that waits here is neither connecting nor
 * stalled. To a host over TLS the first transfer goes alone until it is connected (or has failed):
 * then it is known whether the others can share its connection.
 *
 * libcurl has such limits too, but one list for the waiting transfers of all hosts, of which it
 * only ever tries the head again: one dead host would hold up the others.
 *
 * Used by the engine's thread alone.
 */
#ifndef HTTP_HTTP_HOST_H
#define HTTP_HTTP_HOST_H

#include <stdbool.h>

#define HTTP_HOST_CONNECTIONS 16
#define HTTP_HOST_STREAMS     64

struct http_host;

/* What a transfer embeds. */
struct http_ticket {
	struct http_host *host; /* NULL: neither waiting nor running */
	bool is_running;
	struct http_ticket *prev, *next;
};

struct http_hosts {
	struct http_host *by_key;
};

void http_hosts_release(struct http_hosts *hosts);

/* Puts the ticket into the queue of its host: `key` (copied), with TLS or not. -1: no memory. */
int http_hosts_enter(struct http_hosts *hosts, const char *key, bool is_tls,
		     struct http_ticket *ticket);

/* The next transfer that may start (it counts as running from now on), or NULL. To be asked until
 * NULL whenever one has entered or left, or one of the functions below said so. */
struct http_ticket *http_hosts_next(struct http_host *host);

/* A running transfer has its connection, or it turned out that its connection can be shared by
 * many. True if one that waited may start now. */
bool http_hosts_connected(struct http_ticket *ticket);
bool http_hosts_multiplexed(struct http_ticket *ticket);

/* The transfer is over, or no longer wants to wait. Returns the host if somebody waits for it. */
struct http_host *http_hosts_leave(struct http_hosts *hosts, struct http_ticket *ticket);

#endif
