/*
 * sink: what the bytes of a download pass through on their way to the store.
 *
 *	fetcher ─► sink_write() ─► limits (max_size, min_size) ─► store_writer (unnamed file,
 *digest)
 *
 * A sink takes the bytes of one download. If that breaks off half-way and the fetcher had said
 * that it could go on, the sink with its bytes is kept for the next attempt. Kept sinks hold a
 * descriptor and disk space each, so they are bounded for the whole process. One thread at a time
 * uses a sink; the functions that fetchers call are in fetcher.h.
 */
#ifndef FETCH_SINK_H
#define FETCH_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/util.h"
#include "fetch/fetcher.h"
#include "store/store.h"

#define SINK_KEEP_MIN_BYTES   65536 /* less is sooner fetched again */
#define SINK_KEEP_MAX_SINKS   32
#define SINK_KEEP_TOTAL_BYTES (UINT64_C(4) << 30) /* one alone may be larger */

/* Costs nothing until the first byte is written. store is borrowed. */
int sink_new(struct sink **ret, struct store *store, uint64_t min_bytes, uint64_t max_bytes,
	     struct err *err);
void sink_free(struct sink *sink);
DEFINE_CLEANUP(struct sink, sink_free)

/* After a failed download: may the sink wait for the next attempt? If true, it is counted until it
 * is freed or sink_resume() is called. */
bool sink_keep(struct sink *sink);
void sink_resume(struct sink *sink);

/* All bytes are there: ends writing. The writer is borrowed from the sink. ERR_BAD_DATA if they are
 * too few. */
int sink_finish(struct sink *sink, struct store_writer **ret_writer, uint8_t ret[DIGEST_SIZE],
		struct err *err);

#endif
