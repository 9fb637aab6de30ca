/*
 * snapshot: the immutable bytes of one version, and their metadata.
 *
 * The store sets every field before another thread sees the snapshot. Afterwards only the atomic
 * fields change, and prewarmed_bytes, which belongs to the publisher's thread.
 */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/digest.h"
#include "base/util.h"

enum snapshot_integrity {
	SNAPSHOT_UNVERIFIED, /* written before this boot, and not read since */
	SNAPSHOT_VERIFIED,
	SNAPSHOT_CORRUPT, /* never served */
};

/* Metadata that an update passes to the store with the bytes. */
struct snapshot_info {
	const char *version;	     /* for people: user.rpt.version */
	const char *source;	     /* where the bytes came from; no credentials */
	const char *source_version;  /* the token that came with the bytes, with notes */
	uint64_t source_fingerprint; /* of the source that gave it */
	struct timespec mtime;	     /* the source's; CLOCK_NO_TIME: the time of publishing */
	int64_t fetched_at_ms;	     /* wall clock */
	int64_t order_key;	     /* larger is newer; -1: none */
};

struct snapshot {
	uint64_t id; /* node id and st_ino; never used twice */
	uint64_t size_bytes;
	struct timespec mtime; /* no other version of the term had this one */
	int64_t fetched_at_ms;
	int64_t published_at_ms;
	int64_t order_key;
	uint8_t sha256[DIGEST_SIZE];
	_Atomic enum snapshot_integrity integrity;
	atomic_uint refs;
	_Atomic int64_t unreadable_since_ms; /* clock_boot_ms(); 0: no read has failed */
	uint64_t prewarmed_bytes;	     /* written to the page cache before publishing */
	const char *version;		     /* both point behind the struct */
	const char *source;
};

/* One reference, the caller's; both texts are copied, the rest is 0. NULL if out of memory. */
struct snapshot *snapshot_new(const char *version, const char *source);
/* A copy with one reference, the caller's. NULL if out of memory. */
struct snapshot *snapshot_copy(const struct snapshot *snapshot);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
/* Has it verified again. Returns false if it is known to be corrupt. */
bool snapshot_doubt(struct snapshot *snapshot);
/* NULL is allowed. */
void snapshot_unref(struct snapshot *snapshot);

DEFINE_CLEANUP(struct snapshot, snapshot_unref)

#endif
