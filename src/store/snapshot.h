/*
 * snapshot: the immutable bytes of one version and what is known about them.
 *
 * Everything here is set once by the store, before anybody else sees the snapshot; only the
 * reference count and the verification state change afterwards, both atomic, and what belongs to
 * the one thread that publishes.
 */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/util.h"

enum snapshot_integrity {
	SNAPSHOT_UNVERIFIED, /* written before this boot, and not looked at since */
	SNAPSHOT_VERIFIED,
	SNAPSHOT_CORRUPT, /* never served */
};

/* What the update knows about bytes that it hands to the store. */
struct snapshot_info {
	const char *version;	     /* for people: user.rpt.version */
	const char *source;	     /* where the bytes came from, without credentials */
	const char *source_version;  /* the token that came with the bytes */
	uint64_t source_fingerprint; /* whose token that is */
	int64_t mtime_ms;	     /* Last-Modified, else time of fetch; wall clock */
	int64_t fetched_at_ms;	     /* wall clock */
	int64_t order_key;	     /* larger is newer; -1: none */
};

struct snapshot {
	uint64_t id; /* node id and st_ino; never used twice */
	uint64_t size_bytes;
	int64_t mtime_ms;
	int64_t fetched_at_ms;
	int64_t published_at_ms;
	int64_t order_key;
	uint8_t sha256[DIGEST_SIZE];
	_Atomic enum snapshot_integrity integrity;
	_Atomic int64_t unreadable_since_ms; /* clock_boot_ms(); 0: it was not tried, or is */
	uint64_t prewarmed_bytes; /* the publisher's: in the page cache before anybody asked */
	atomic_uint refs;
	const char *version; /* both point behind the struct */
	const char *source;
};

/* With one reference, the caller's, both texts copied and everything else 0; NULL if memory is
 * short. */
struct snapshot *snapshot_new(const char *version, const char *source);
/* Another one that says the same of itself, with one reference; NULL if memory is short. */
struct snapshot *snapshot_copy(const struct snapshot *snapshot);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
/* NULL is allowed. */
void snapshot_unref(struct snapshot *snapshot);

DEFINE_CLEANUP(struct snapshot, snapshot_unref)

#endif
