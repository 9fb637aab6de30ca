/*
 * s3_range: a range of one version of an object.
 *
 * It is requested with If-Match, so that bytes of another version never arrive. If the transfer
 * breaks off, the missing bytes are requested again after a short pause: one broken connection of
 * many must not cost the whole object. Failures that last longer than a second or two are left to
 * the engine. From any thread, several at once for one source.
 */
#ifndef FETCHERS_S3_S3_RANGE_H
#define FETCHERS_S3_S3_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "fetchers/s3/s3_request.h"

struct s3_range {
	const char *etag;    /* strong */
	uint64_t first, end; /* [first, end) */
	uint64_t size;	     /* of the object */
};

enum s3_range_result {
	S3_RANGE_OK,
	S3_RANGE_CHANGED, /* the object now has another version */
	S3_RANGE_UNFIT,	  /* the service did not answer with this range */
	S3_RANGE_FAILED,  /* see *err */
};

/* take() gets each byte once, in order. It is also called with len 0, before each retry; if it then
 * returns -1, there is no retry. Its errors are passed on unchanged. S3_RANGE_FAILED sets
 * *ret_retry_after_ms to the service's Retry-After, or FETCHED_UNKNOWN. */
enum s3_range_result s3_range_fetch(struct s3_source *source, struct fetch_ctx *ctx,
				    const struct s3_range *range,
				    int (*take)(void *arg, const void *data, size_t len,
						struct err *err),
				    void *arg, int64_t *ret_retry_after_ms, struct err *err);

#endif
