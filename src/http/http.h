/*
 * http: the one HTTP engine, behind a blocking call.
 *
 * One thread drives one curl multi handle. All terms share connections, TLS sessions and name
 * look-ups, HTTP/2 streams share a connection, and connections per host are limited. Callers block
 * in http_perform(). The body reaches them in their own thread, through a bounded buffer, so that a
 * slow disk delays its own transfer only.
 *
 *	http.c           http_perform(): redirects, decoding, callbacks, error messages
 *	http_setup.c     sets one request as options of a curl handle
 *	http_setopt.h    sets an option and checks the result
 *	http_engine.c    the thread and its event loop
 *	http_transfer.c  one transfer, between its caller and the thread
 *	http_response.c  status, headers and framing
 *	http_address.c   avoids addresses that do not answer
 *	http_host.c      which transfers may start: a limited number per host, the others queue
 *	http_sockets.c   the sockets that the event loop waits for
 *	http_idle.c      closes kept connections on which data arrives, and all on request
 *	http_ca.c        keeps files of certificate authorities for a second
 *	http_resolver.c  keeps resolv.conf in the worker's own root up to date
 *	http_public.c    tells public addresses from others
 *	http_url.c       checks, masks and parses URLs
 *	http_field.c     parses values of header fields
 *	decode.c         gzip, br and zstd
 *
 * No other folder includes libcurl's headers.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/err.h"

struct helper;
struct http;

/* Starts the engine's thread. helper (borrowed; NULL: none) opens the files of certificates that
 * this process may not open. cancel (borrowed) ends every transfer with ERR_CANCELED. */
int http_new(struct http **ret, struct helper *helper, struct cancel *cancel, struct err *err);
/* No transfer may be under way. */
void http_free(struct http *http);

/*
 * What several requests together may cost, even at the same time. Bytes are counted as they arrive:
 * headers and trailers, bodies before decoding and, with HTTP/1 over TCP, what frames them.
 */
struct http_budget {
	int64_t timeout_ms;  /* from the start to deadline_ms, for messages */
	int64_t deadline_ms; /* clock_boot_ms() */
	uint64_t min_rate;   /* bytes a second that a response must bring once it has begun, on
			      * average over a stall_timeout; 0: any */
	uint64_t max_bytes;
	atomic_uint_fast64_t bytes; /* received so far */
};

/*
 * One request. All strings are borrowed for the call; NULL means "not set". After a redirect to
 * another scheme, host or port, only public_headers, user_agent, ca_file, proxy and unix_socket are
 * used for the rest of the call.
 */
struct http_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers;	   /* "Name: value", NULL-terminated; NULL: none */
	const char *const *public_headers; /* as headers, without secrets */
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
	int64_t stall_timeout_ms;   /* less than 1 KiB in that time ends the transfer */
	struct http_budget *budget; /* NULL: without limits */
	/* How many redirects of a GET or HEAD are followed, never from https to http. The next 3xx
	 * is the response. */
	unsigned max_redirects;
	/* Follow redirects from a public host to loopback, link-local and private addresses too.
	 * Behind a proxy, only addresses in the URL's text can be told. */
	bool redirects_anywhere;
	bool accept_encoding; /* ask for gzip, br, zstd and decode it */
	bool accept_unframed; /* do not ask again with HTTP/1.1 if HTTP/2 cannot show a cut body */
	bool path_as_is;      /* do not normalise "/../" (signed requests) */
};

struct codings;
struct http_response;

/*
 * Called in the caller's thread: on_headers once, when the headers of the final response have
 * arrived, then on_body for each piece of its body, in order. Returning -1 with *err set ends the
 * transfer with that error. on_body is called for a response of any status; a caller that does not
 * want error pages drops them. response is valid until http_perform() returns.
 */
struct http_callbacks {
	int (*on_headers)(void *arg, const struct http_response *response, struct err *err);
	int (*on_body)(void *arg, const void *data, size_t len, struct err *err);
	void *arg;
};

int http_status(const struct http_response *response);
/* The first header of that name, compared without case, or NULL. Lives as long as the response. */
const char *http_header(const struct http_response *response, const char *name);
/* The header of that name at index, or NULL: a response may have several. */
const char *http_header_at(const struct http_response *response, const char *name, size_t index);
/* Whether the response says where its body ends (Content-Length, chunked, HTTP/2). */
bool http_is_framed(const struct http_response *response);
/* Bytes of the body on the wire, before decoding; -1: not announced. */
int64_t http_length(const struct http_response *response);
/* What codings the body has on the wire; see decode.h. */
void http_codings(const struct http_response *response, struct codings *ret);
bool http_is_coded(const struct http_response *response);

/*
 * Performs one request. Returns 0 when the whole response has been handed over, whatever its
 * status, or -1: ERR_UNREACHABLE (name, connection, TLS, timeout, stall, too slow, cut body,
 * interim response without a final one), ERR_CONFIG (certificate files, bad URL), ERR_BAD_DATA
 * (content coding is broken or unknown, not HTTP, headers of more than HTTP_HEADERS_MAX bytes, more
 * bytes than the budget has, a redirect that must not be followed), ERR_INTERNAL (out of memory:
 * the request is not sent without a part of it), ERR_CANCELED, or the error of a callback. Messages
 * name method and URL without credentials and query.
 */
#define HTTP_HEADERS_MAX (64 * 1024)

int http_perform(struct http *http, const struct http_request *request,
		 const struct http_callbacks *callbacks, struct err *err);

/* Closes the connections that are kept for later requests: after a change of the network they may
 * be dead. Takes NULL. From any thread. */
void http_close_idle(struct http *http);

/* For metrics: requests made so far, each redirect one more. */
uint64_t http_requests_total(const struct http *http);

/* Whether a response with this status and a Location is a redirect. */
bool http_is_redirect(int status);

/* "https://host:443", in lower case; *ret is the caller's. ERR_CONFIG if this is not an absolute
 * http or https URL without user information. */
int http_url_origin(const char *url, char **ret, struct err *err);

/* Does "host" or "host:port" (an IPv6 address in brackets) name this machine, judged by the text
 * alone? */
bool http_is_loopback(const char *host);

/* Whether curl accepts the URL of a proxy, which needs no scheme. The error shows no password. */
int http_url_check_proxy(const char *proxy, struct err *err);

/* The URL for messages: without user information and fragment, and the query as "?…". url may be
 * any text. Returns ret, which holds size bytes; a longer result is cut off. */
const char *http_url_mask(const char *url, char *ret, size_t size);

#endif
