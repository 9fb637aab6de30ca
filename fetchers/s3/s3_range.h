/*
 * s3_range: a range of one version of an object.
 *
 * Asked for with If-Match, so that bytes of another version can never come. A transfer that breaks
 * off is made again for what is missing, after a short pause: the rest of a large object must not
 * be thrown away for one connection of many. What does not get better within a second or two is
 * left to the engine. Any thread, several at once for one source.
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
	S3_RANGE_CHANGED, /* the object has another version now */
	S3_RANGE_UNFIT,	  /* the service answers otherwise than it was asked to */
	S3_RANGE_FAILED,  /* *err says why */
};

/* take() gets each byte once, in order, and no bytes when it is asked whether to try again. What it
 * says with -1 is handed up as it is. With S3_RANGE_FAILED, *ret_retry_after_ms is what the service
 * wants, or FETCHED_UNKNOWN. */
enum s3_range_result s3_range_fetch(struct s3_source *source, struct fetch_ctx *ctx,
				    const struct s3_range *range,
				    int (*take)(void *arg, const void *data, size_t len,
						struct err *err),
				    void *arg, int64_t *ret_retry_after_ms, struct err *err);

/* "bytes FIRST-LAST/SIZE", LAST as the end behind it. False: anything else; NULL, too. */
bool s3_range_parse(const char *content_range, struct s3_range *ret);

#endif
