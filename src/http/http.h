/*
 * http: the one HTTP engine, behind a blocking call.
 *
 * One thread drives one curl multi handle: connections, TLS sessions and name look-ups are shared
 * by all terms, HTTP/2 streams share a connection, and connections per host are limited. Callers
 * block in http_perform(); the body reaches them in their own thread, through a bounded buffer, so
 * that a slow disk holds up one transfer and nothing else.
 *
 *	http.c         http_perform(): redirects, decoding, callbacks, what went wrong in words
 *	http_setup.c   one request as options of a curl handle
 *	http_ca.c      files of certificate authorities are not read for each request
 *	http_engine.c  the thread, its event loop, the body buffers
 *	http_host.c    who may start now: so many transfers a host, the others wait in a queue
 *	http_idle.c    kept connections are silent, or ended
 *	http_url.c     checking, masking, taking apart
 *	decode.c       gzip, br and zstd
 *
 * No other file includes libcurl's headers.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/err.h"

struct helper;
struct http;

/* Starts the engine's thread. helper (borrowed; NULL: none) opens the files of certificates that
 * this process may not. cancel (borrowed) ends every transfer with ERR_CANCELED. */
int http_new(struct http **ret, struct helper *helper, struct cancel *cancel, struct err *err);
/* No transfer may be under way. */
void http_free(struct http *http);

/*
 * One request. All strings are borrowed for the call; NULL means "not set". Where a redirect leads
 * to another scheme, host or port, only public_headers, user_agent, ca_file, proxy and unix_socket
 * go along, and nothing else ever again in this call.
 */
struct http_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers;	   /* "Name: value", NULL-terminated; NULL: none */
	const char *const *public_headers; /* as headers; hold no secret */
	const char *user_agent;
	const char *user_password; /* basic auth, "user:password" */
	const char *bearer_token;
	const char *client_cert_file; /* PEM */
	const char *client_key_file;
	const char *ca_file;
	const char *proxy; /* NULL: from http_proxy and the like; "": none */
	const char *unix_socket;
	const void *body; /* request body (POST, PUT); NULL: none */
	size_t body_bytes;
	int64_t connect_timeout_ms;
	int64_t stall_timeout_ms; /* less than 1 KiB in that time: given up */
	/* How many redirects of a GET or HEAD are followed; the 3xx after the last one is the
	 * response. Never from https to http. */
	unsigned max_redirects;
	bool accept_encoding; /* ask for gzip, br, zstd and decode it */
	bool path_as_is;      /* do not normalise "/../" (signed requests) */
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
/* Bytes of the body on the wire, coded as it is; -1: not announced. */
int64_t http_length(const struct http_response *response);
/* Is the body coded on the wire (any Content-Encoding but identity)? */
bool http_is_coded(const struct http_response *response);

/*
 * Performs one request and returns when the whole response has been handed over, 0, or -1:
 * ERR_UNREACHABLE (name, connection, TLS, timeout, stall, cut body), ERR_CONFIG (certificate files,
 * bad URL), ERR_BAD_DATA (content coding is broken or unknown, not HTTP, headers of more than
 * HTTP_HEADERS_MAX bytes, a redirect that must not be followed), ERR_CANCELED, or what a callback
 * said. The status is not judged. Messages name method and URL without credentials and query.
 */
#define HTTP_HEADERS_MAX (64 * 1024)

int http_perform(struct http *http, const struct http_request *request,
		 const struct http_callbacks *callbacks, struct err *err);

/* For metrics: requests made so far, each redirect one more. */
uint64_t http_requests_total(const struct http *http);

/* "https://host:443", in lower case; *ret is the caller's. ERR_CONFIG says why it is no whole http
 * or https URL without user information. */
int http_url_origin(const char *url, char **ret, struct err *err);

/* Does "host" or "host:port" (an IPv6 address in brackets) name this machine, judged by the text
 * alone? */
bool http_is_loopback(const char *host);

/* The URL for people: without user information and fragment, the query as "?…". Any text will do
 * for an URL. Returns ret, which holds size bytes; what is longer is cut. */
const char *http_url_mask(const char *url, char *ret, size_t size);

#endif
