/*
 * s3_parts: the rest of an object, fetched in ranges side by side and handed over in order.
 *
 *	workers ─► take the next range ─► slot of the window ─► s3_parts_next(), in order
 *
 * A range has its slot before it is asked for: no transfer ever waits for the reader, nor for
 * another transfer, so that every connection that is held makes progress. Ranges are small, for
 * memory is what is fetched ahead; and so that HTTP/2 can carry them side by side. All windows of
 * the process together take up S3_PARTS_TOTAL_BYTES at most. Made, read and freed by one thread;
 * the workers are its own.
 */
#ifndef FETCHERS_S3_S3_PARTS_H
#define FETCHERS_S3_S3_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/util.h"
#include "fetchers/s3/s3_range.h"

/* The largest range; what source->part_size_bytes is below counts. */
#define S3_PARTS_RANGE_BYTES (UINT64_C(4) << 20)
#define S3_PARTS_TOTAL_BYTES (UINT64_C(128) << 20)

struct s3_parts;

uint64_t s3_parts_range_bytes(const struct s3_source *source);

/* Begins to fetch range, whose etag must live as long, while the caller still has a transfer of its
 * own under way. NULL: there is no room now, or nothing would be gained. */
struct s3_parts *s3_parts_new(struct s3_source *source, struct fetch_ctx *ctx,
			      const struct s3_range *range);
/* Waits for the transfers under way. */
void s3_parts_free(struct s3_parts *parts);
DEFINE_CLEANUP(struct s3_parts, s3_parts_free)

/* Waits for the next bytes, which are valid until the next call; *ret_len 0: that was all. Any
 * other result than S3_RANGE_OK is the end; then as s3_range_fetch(). */
enum s3_range_result s3_parts_next(struct s3_parts *parts, const void **ret_data, size_t *ret_len,
				   int64_t *ret_retry_after_ms, struct err *err);

#endif
