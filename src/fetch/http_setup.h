/*
 * http_setup: one request as options of a transfer's curl handle. Internal to http*.c.
 */
#ifndef FETCH_HTTP_SETUP_H
#define FETCH_HTTP_SETUP_H

#include "fetch/http_engine.h"

/* url is the request's or where a redirect led to; is_trusted: secrets may be sent there. All
 * strings but the headers are borrowed until the transfer has ended. */
int http_setup(struct transfer *transfer, const struct http_request *request, const char *url,
	       bool is_trusted, struct err *err);

#endif
