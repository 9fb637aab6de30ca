/*
 * http_setup: one request as options of a transfer's curl handle. Internal to http*.c.
 */
#ifndef HTTP_HTTP_SETUP_H
#define HTTP_HTTP_SETUP_H

#include "http/http_engine.h"

/* What changes from one transfer of a call to the next. */
struct http_hop {
	char *url;	 /* owned; the request's, or where a redirect led to */
	bool is_trusted; /* secrets may be sent there */
	bool is_http1;	 /* not HTTP/2 */
};

/* The request's strings, but for its headers, are borrowed until the transfer has ended. */
int http_setup(struct transfer *transfer, const struct http_request *request,
	       const struct http_hop *hop, struct err *err);

#endif
