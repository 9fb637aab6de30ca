/*
 * http: the one HTTP engine, behind a blocking call.
 *
 * One thread drives one curl multi handle: connections, TLS sessions and name look-ups are shared
 * by all terms, HTTP/2 streams share a connection, and connections per host are limited. Callers
 * block in http_perform(); the body reaches them in their own thread, through a bounded buffer, so
 * that a slow disk holds up one transfer and nothing else.
 *
 * The only file that knows libcurl is http.c.
 */
#ifndef FETCH_HTTP_H
#define FETCH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/err.h"

struct http;

/* Starts the engine's thread. cancel (borrowed) ends every transfer with ERR_CANCELED. */
int http_new(struct http **ret, struct cancel *cancel, struct err *err);
/* No transfer may be under way. */
void http_free(struct http *http);

/* One request. All strings are borrowed for the call; NULL means "not set". */
struct http_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
	const char *user_agent;
	const char *user_password; /* basic auth, "user:password" */
	const char *bearer_token;
	const char *client_cert_file; /* PEM */
	const char *client_key_file;
	const char *ca_file;
	const char *proxy;
	const char *unix_socket;
	const void *body; /* request body (POST, PUT); NULL: none */
	size_t body_bytes;
	int64_t connect_timeout_ms;
	int64_t stall_timeout_ms; /* less than 1 KiB in that time: given up */
	unsigned max_redirects;	  /* 0: redirects are not followed, the 3xx is the response */
	bool accept_encoding;	  /* ask for gzip, br, zstd and decode it */
	bool path_as_is;	  /* do not normalise "/../" (signed requests) */
};

struct http_response;

/*
 * Called in the caller's thread, once, when the headers of the final response are there; then
 * on_body for each piece of its body, in order. Returning -1 with *err set ends the transfer with
 * that error. on_body is called for responses of any status: a caller that wants no error page
 * does not pass it on. response is valid until http_perform() returns.
 */
struct http_callbacks {
	int (*on_headers)(void *arg, const struct http_response *response, struct err *err);
	int (*on_body)(void *arg, const void *data, size_t len, struct err *err);
	void *arg;
};

int http_status(const struct http_response *response);
/* A header of the final response by name, without case; NULL if there is none. Of several, the
 * first. Lives as long as the response. */
const char *http_header(const struct http_response *response, const char *name);
/* Number of headers with that name and the one at index (for Cache-Control in several lines). */
size_t http_header_count(const struct http_response *response, const char *name);
const char *http_header_at(const struct http_response *response, const char *name, size_t index);
/* Does the response say where its body ends (Content-Length, chunked, HTTP/2)? */
bool http_is_framed(const struct http_response *response);

/*
 * Performs one request and returns when the whole response has been handed over, 0, or -1:
 * ERR_UNREACHABLE (name, connection, TLS, timeout, stall, cut body), ERR_CONFIG (certificate files,
 * bad URL), ERR_BAD_DATA (content coding is broken), ERR_CANCELED, or what a callback said. The
 * status is not judged. Messages name method and URL without credentials and query values.
 */
int http_perform(struct http *http, const struct http_request *request,
		 const struct http_callbacks *callbacks, struct err *err);

/* For metrics: transfers under way and open connections are not counted; requests made so far. */
uint64_t http_requests_total(const struct http *http);

#endif
