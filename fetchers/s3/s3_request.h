/*
 * s3_request: one signed request for the object of a source.
 *
 * Adds address, credentials and signature, and what the source's options require (versionId,
 * x-amz-checksum-mode, x-amz-request-payer, SSE-C). Redirects are never followed, and requests are
 * signed only for hosts that follow from the configuration and the region. Three problems are
 * corrected by a second request, each once per call: another region (remembered), a clock that is
 * off (remembered), expired credentials. Everything else is an error with advice to the operator.
 * From any thread, several at once for one source.
 */
#ifndef FETCHERS_S3_S3_REQUEST_H
#define FETCHERS_S3_S3_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/fetcher.h"
#include "http/http.h"
#include "fetchers/aws/aws_error.h"
#include "fetchers/aws/uri_encode.h"
#include "fetchers/s3/s3_source.h"

/* The header of a request or a response for an object that is encrypted with a customer's key. */
#define S3_SSE_C_ALGORITHM "x-amz-server-side-encryption-customer-algorithm"

/* The rest of an error response. */
struct s3_failure {
	int status;			/* 0: there was no answer */
	char code[AWS_ERROR_CODE_SIZE]; /* "NoSuchKey"; empty: the body has none */
	int64_t retry_after_ms;		/* or FETCHED_UNKNOWN */
};

struct s3_request {
	const char *method; /* NULL: GET */
	/* Besides versionId; not encoded. */
	const struct uri_pair *query;
	size_t n_query;
	/* Unsigned request headers, NULL-terminated: Range, If-Match, If-None-Match. */
	const char *const *headers;
	struct s3_failure *ret_failure; /* NULL, or set when -1 is returned */
};

/*
 * GET or HEAD of the object (of version_id, if the source has one). The callbacks see one response,
 * of status 200, 206 or 304. Any other status is an error: ERR_NOT_FOUND for 404, ERR_BUSY for 412
 * and 416 (the object has changed), and so on. Errors of a callback are passed on unchanged.
 */
int s3_perform(struct s3_source *source, struct fetch_ctx *ctx, const struct s3_request *ask,
	       const struct http_callbacks *callbacks, struct err *err);

#endif
