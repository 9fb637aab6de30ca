/*
 * prewarm: puts a new snapshot into the page cache before its name leads to it, so that its first
 * reader pays nothing.
 *
 * As much of its beginning as the term's prewarm_limit, what is left of the mount's prewarm_total,
 * the memory (mount/publish/headroom.h) and the time allow. The store file's own pages are dropped
 * afterwards: the bytes are in memory once.
 */
#ifndef MOUNT_PUBLISH_PREWARM_H
#define MOUNT_PUBLISH_PREWARM_H

#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "mount/publish/headroom.h"
#include "mount/connection/session.h"
#include "store/store.h"

struct prewarm;

struct prewarm_setup {
	struct store *store; /* all borrowed */
	struct session *session;
	const struct headroom *headroom; /* NULL: there is always enough */
	uint64_t total_bytes;
};

int prewarm_new(struct prewarm **ret, const struct prewarm_setup *setup, struct err *err);
/* NULL is allowed. */
void prewarm_free(struct prewarm *prewarm);

DEFINE_CLEANUP(struct prewarm, prewarm_free)

/* All by the publisher's thread. The kernel knows the snapshot's node; it is about to let go of the
 * one that is replaced (NULL: none), most likely. */
void prewarm_store(struct prewarm *prewarm, struct snapshot *snapshot,
		   const struct snapshot *replaced, uint64_t limit_bytes);
/* The kernel has let go of the snapshot, and of its pages. */
void prewarm_released(struct prewarm *prewarm, const struct snapshot *snapshot);

/* Bytes that were stored so far. From any thread. */
uint64_t prewarm_count(const struct prewarm *prewarm);

#endif
