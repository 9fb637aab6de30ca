/*
 * aws_http: one small request to a service that hands out credentials. Nothing of the answer is
 * left in ordinary memory.
 */
#ifndef FETCHERS_AWS_AWS_HTTP_H
#define FETCHERS_AWS_AWS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/fetcher.h"

#define AWS_BODY_MAX (64 * 1024)

struct aws_http_ask {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers; /* NULL-terminated; NULL: none */
	const void *body;
	size_t body_bytes;
	int64_t connect_timeout_ms, stall_timeout_ms;
	bool is_local; /* a service of this machine or network: never through a proxy */
};

struct aws_reply {
	int status;
	char *body; /* owned, locked memory; with a NUL behind it */
	size_t body_bytes;
	int64_t date_ms; /* the service's clock, or -1 */
};

/* *ret must be zeroed; aws_reply_release() takes it after a failure too. The status is not judged.
 * Redirects are not followed. ERR_UNREACHABLE, ERR_CONFIG, ERR_INTERNAL, ERR_CANCELED. */
int aws_http(struct fetch_ctx *ctx, const struct aws_http_ask *ask, struct aws_reply *ret,
	     struct err *err);
void aws_reply_release(struct aws_reply *reply);

/* What a status that is no success says of the next attempt: BUSY (429, 5xx) or DENIED. */
enum err_kind aws_status_kind(int status);

#endif
