/*
 * s3_parallel: fetches the rest of an object in ranges, several at once, and hands them over in
 * order.
 *
 *	workers ─► take the next range ─► fill its buffer ─► s3_parallel_next(), in order
 *
 * A range has its buffer before it is requested, so no transfer waits for the reader or for another
 * transfer, and every open connection makes progress. Ranges are small, because what is fetched
 * ahead is held in memory, and so that HTTP/2 can carry them side by side. All buffers of the
 * process together use at most S3_PARALLEL_TOTAL_BYTES. One thread creates, reads and frees a
 * struct s3_parallel; the workers are its own threads.
 */
#ifndef FETCHERS_S3_S3_PARALLEL_H
#define FETCHERS_S3_S3_PARALLEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/util.h"
#include "fetchers/s3/s3_range.h"

/* The largest range; a smaller source->part_size_bytes wins. */
#define S3_PARALLEL_RANGE_BYTES (UINT64_C(4) << 20)
#define S3_PARALLEL_TOTAL_BYTES (UINT64_C(128) << 20)

struct s3_parallel;

uint64_t s3_parallel_range_bytes(const struct s3_source *source);

/* Starts to fetch range, while the caller's own transfer of the bytes before it continues. range's
 * etag must live as long as the result. NULL: no memory is free, or nothing would be gained. */
struct s3_parallel *s3_parallel_new(struct s3_source *source, struct fetch_ctx *ctx,
				    const struct s3_range *range);
/* Ends the transfers under way at their next bytes, and waits for them. NULL is allowed. */
void s3_parallel_free(struct s3_parallel *parallel);
DEFINE_CLEANUP(struct s3_parallel, s3_parallel_free)

/* Waits for the next bytes, which are valid until the next call. *ret_len is 0 at the end. After
 * any result but S3_RANGE_OK nothing more comes; *ret_retry_after_ms and *err are then those of
 * s3_range_fetch(). */
enum s3_range_result s3_parallel_next(struct s3_parallel *parallel, const void **ret_data,
				      size_t *ret_len, int64_t *ret_retry_after_ms,
				      struct err *err);

#endif
