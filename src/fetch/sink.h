/*
 * sink: passes the bytes of a download on to the store.
 *
 *	fetcher ─► sink_write() ─► max_size, min_size ─► store_writer (unnamed file, digest)
 *
 * A sink takes the bytes of one download. If the download is interrupted, and the fetcher can
 * resume it, the sink and its bytes are kept for the next attempt. Each kept sink holds a
 * descriptor and disk space, so their number is limited for the whole process. A sink is used by
 * one thread at a time. fetcher.h has the functions that fetchers call.
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

#define SINK_KEEP_MIN_BYTES   65536 /* fewer are fetched again */
#define SINK_KEEP_MAX_SINKS   32
#define SINK_KEEP_TOTAL_BYTES (UINT64_C(4) << 30) /* a single one may be larger */

/* Opens nothing before the first byte is written. store is borrowed. */
int sink_new(struct sink **ret, struct store *store, uint64_t min_bytes, uint64_t max_bytes,
	     struct err *err);
/* Takes no more bytes after deadline_ms, clock_boot_ms(), which is the end of timeout_ms. */
void sink_set_deadline(struct sink *sink, int64_t deadline_ms, int64_t timeout_ms);
void sink_free(struct sink *sink);
DEFINE_CLEANUP(struct sink, sink_free)

/* After a failed download: whether the sink may be kept for the next attempt. If so, it is counted
 * until it is freed or sink_resume() is called. */
bool sink_keep(struct sink *sink);
void sink_resume(struct sink *sink);

/* Ends writing, after the last byte. The writer is borrowed from the sink. ERR_BAD_DATA if there
 * are fewer than min_bytes. */
int sink_finish(struct sink *sink, struct store_writer **ret_writer, uint8_t ret[DIGEST_SIZE],
		struct err *err);

#endif
