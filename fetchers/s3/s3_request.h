/*
 * s3_request: one signed request for the object of a source.
 *
 * Address, credentials, signature, and what options of the source ask for (versionId,
 * x-amz-checksum-mode, x-amz-request-payer, SSE-C) are added here. Redirects are never followed,
 * and a request is signed only for hosts that the configuration and the region give. What a signed
 * request can mend by itself is mended, each once a call: another region (remembered), a clock that
 * is off (remembered), credentials that have expired. Everything else is an error, with what the
 * operator can do about it. Any thread, several at once for one source.
 */
#ifndef FETCHERS_S3_S3_REQUEST_H
#define FETCHERS_S3_S3_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/fetcher.h"
#include "http/http.h"
#include "fetchers/s3/s3_error.h"
#include "fetchers/s3/s3_source.h"
#include "fetchers/aws/sigv4.h"

/* What a service that said no said besides. */
struct s3_failure {
	int status;		 /* 0: there was no answer */
	char code[S3_CODE_SIZE]; /* "NoSuchKey"; empty: there was no body that says so */
	int64_t retry_after_ms;	 /* or FETCHED_UNKNOWN */
};

struct s3_ask {
	const char *method; /* NULL: GET */
	/* Besides versionId; not encoded. */
	const struct sigv4_pair *query;
	size_t n_query;
	/* Unsigned request headers, NULL-terminated: Range, If-Match, If-None-Match. */
	const char *const *headers;
	struct s3_failure *ret_failure; /* NULL, or set whenever -1 is returned */
};

/*
 * GET or HEAD of the object (of version_id, if the source has one). callbacks see one answer, and
 * only one of status 200, 206 or 304; all else is -1 with the kind and text of the answer: 412 and
 * 416 are ERR_BUSY (the object has changed), 404 is ERR_NOT_FOUND. What a callback says is handed
 * up as it is.
 */
int s3_perform(struct s3_source *source, struct fetch_ctx *ctx, const struct s3_ask *ask,
	       const struct http_callbacks *callbacks, struct err *err);

#endif
