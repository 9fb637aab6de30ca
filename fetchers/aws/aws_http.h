/*
 * aws_http: one small request to a service that hands out credentials. The answer is kept in locked
 * memory only.
 */
#ifndef FETCHERS_AWS_AWS_HTTP_H
#define FETCHERS_AWS_AWS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/fetcher.h"

#define AWS_BODY_MAX (64 * 1024)

struct aws_http_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers; /* NULL-terminated; NULL: none */
	const void *body;
	size_t body_bytes;
	int64_t connect_timeout_ms, stall_timeout_ms;
	const char *ca_file; /* NULL: the CAs of the system */
	bool is_local;	     /* a service of this machine or network: no proxy */
};

struct aws_reply {
	int status;
	char *body; /* owned, locked memory; NUL-terminated */
	size_t body_bytes;
	int64_t date_ms; /* the service's clock; -1: unknown */
};

/* *ret must be zeroed; call aws_reply_release() after a failure too. Any status is a success.
 * Redirects are not followed. ERR_UNREACHABLE, ERR_CONFIG, ERR_INTERNAL, ERR_CANCELED. */
int aws_http(struct fetch_ctx *ctx, const struct aws_http_request *ask, struct aws_reply *ret,
	     struct err *err);
void aws_reply_release(struct aws_reply *reply);

/* The kind of error of a status other than 200: ERR_BUSY (429, 5xx) or ERR_DENIED. */
enum err_kind aws_status_kind(int status);

#endif
