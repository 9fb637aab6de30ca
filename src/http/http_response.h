/*
 * http_response: status, headers and framing of a response. Internal to http*.c; http.h has the
 * functions that read it.
 *
 * The headers are copied when they are complete, because curl may still add trailers to its own
 * list while the caller reads.
 */
#ifndef HTTP_HTTP_RESPONSE_H
#define HTTP_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "http/http.h"

struct http_header_line {
	const char *name, *value;
};

struct http_response {
	int status;
	bool is_http2;
	bool is_forged; /* it says HTTP/2, on a connection without TLS */
	bool is_framed;
	size_t n_transfer_codings; /* lines of Transfer-Encoding that are not empty */
	int64_t length;		   /* -1: not announced */
	bool is_counted; /* it ends at `length`, but curl reads until the connection ends */
	struct http_header_line *fields; /* owned, with the text that they point to behind them */
	size_t n_fields;
};

/* Copies what the handle received last. Returns false if out of memory. An interim response (1xx)
 * is skipped: true, and response->fields stays NULL. */
bool http_response_read(CURL *easy, struct http_response *response);
void http_response_release(struct http_response *response);

#endif
