/*
 * s3_dated: objects of a service that sends no ETag. Their version is the time of modification, and
 * HEAD shows whether that, or the length, has changed: a GET would transfer the object if the
 * service ignores conditions.
 */
#ifndef FETCHERS_S3_S3_DATED_H
#define FETCHERS_S3_S3_DATED_H

#include "fetch/fetcher.h"
#include "http/http.h"
#include "fetchers/s3/s3_request.h"

/* Sets the notes of a version: what s3_dated_ask() has to know. length: of the object; -1: unknown.
 */
void s3_dated_note(struct version *version, const struct http_response *response, int64_t length);

enum s3_dated_result {
	S3_DATED_SAME,	 /* still this version */
	S3_DATED_NEWS,	 /* or it cannot be told */
	S3_DATED_FAILED, /* see *err */
};

/* Asks whether the object still has this version, which must be a date. */
enum s3_dated_result s3_dated_ask(struct s3_source *source, struct fetch_ctx *ctx,
				  const struct version *have, struct s3_failure *ret_failure,
				  struct err *err);

#endif
