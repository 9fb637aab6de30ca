/*
 * http_host: which transfers may start.
 *
 * At most HTTP_HOST_CONNECTIONS transfers run to one host, or HTTP_HOST_STREAMS once it speaks
 * HTTP/2. The others queue. A queued transfer counts as neither connecting nor stalled. Over TLS
 * the first transfer to a host runs alone until it has connected or failed, which shows whether the
 * others can share its connection.
 *
 * A connection with HTTP/2 that is never idle would be used for ever, because libcurl looks only at
 * the age of idle connections. So after HTTP_KEPT_MAX_S further transfers belong to another
 * generation, and share no connection with those that still run.
 *
 * libcurl has such limits too, but it keeps the waiting transfers of all hosts in one list and
 * retries only the head of it: one dead host would delay the others.
 *
 * Used by the engine's thread alone.
 */
#ifndef HTTP_HTTP_HOST_H
#define HTTP_HTTP_HOST_H

#include <stdbool.h>
#include <stdint.h>

/* An older connection is not used for further transfers: the name may have moved. */
#define HTTP_KEPT_MAX_S 120L

#define HTTP_HOST_GENERATIONS 8
#define HTTP_HOST_CONNECTIONS 16
#define HTTP_HOST_STREAMS     64

struct http_host;

/* Embedded in each transfer. */
struct http_ticket {
	struct http_host *host; /* NULL: neither waiting nor running */
	bool is_running;
	unsigned generation; /* once it runs: below HTTP_HOST_GENERATIONS */
	struct http_ticket *prev, *next;
};

struct http_hosts {
	struct http_host *by_key;
};

void http_hosts_release(struct http_hosts *hosts);

/* Queues the ticket at its host: `key` (copied), with TLS or without. -1: out of memory. */
int http_hosts_enter(struct http_hosts *hosts, const char *key, bool is_tls,
		     struct http_ticket *ticket);

/* The next transfer that may start, or NULL; it counts as running from now on. Call this until it
 * returns NULL whenever a transfer has entered or left, or a function below returns true. now_ms:
 * boot clock. */
struct http_ticket *http_hosts_next(struct http_host *host, int64_t now_ms);

/* A running transfer has its connection, or has found that its connection can be shared. True if a
 * queued transfer may start now. */
bool http_hosts_connected(struct http_ticket *ticket);
bool http_hosts_multiplexed(struct http_ticket *ticket);

/* The transfer has ended, or leaves the queue. Returns the host if others are queued there. */
struct http_host *http_hosts_leave(struct http_hosts *hosts, struct http_ticket *ticket);

#endif
