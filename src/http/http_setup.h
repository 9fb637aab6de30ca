/*
 * http_setup: one request as options of a transfer's curl handle. Internal to http*.c.
 */
#ifndef HTTP_HTTP_SETUP_H
#define HTTP_HTTP_SETUP_H

#include <stdbool.h>

#include "http/http_ca.h"
#include "http/http_transfer.h"

/* The settings that differ between the transfers of one call. */
struct http_hop {
	char *url;	 /* owned; the request's, or the target of a redirect */
	bool is_trusted; /* secrets may be sent there */
	bool is_public;	 /* it must not lead to another address */
	bool is_http1;	 /* not HTTP/2 */
	bool is_fresh;	 /* on a new connection, to any address */
};

/* helper (base/files.h) opens the files of certificates. Borrows the request's body until the
 * transfer has ended. After a failure the transfer must not be started: part of the request may be
 * missing. */
int http_setup(struct transfer *transfer, struct http_cas *cas, struct helper *helper,
	       const struct http_request *request, const struct http_hop *hop, struct err *err);

/* Of http_host.h: a transfer with TLS shares no connection with those of other generations. Call it
 * before the transfer starts. -1: out of memory. */
int http_setup_generation(CURL *easy, unsigned generation);

#endif
