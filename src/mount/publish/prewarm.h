/*
 * prewarm: puts a new snapshot into the page cache before its name points to it, so that its first
 * reader does not wait.
 *
 * It stores the beginning of the snapshot, limited by the term's prewarm_limit, the rest of the
 * mount's prewarm_total, the spare memory (mount/publish/spare_memory.h) and time. Afterwards the
 * pages of the store's file are dropped, so that the bytes are in memory once.
 */
#ifndef MOUNT_PUBLISH_PREWARM_H
#define MOUNT_PUBLISH_PREWARM_H

#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "mount/connection/session.h"
#include "mount/publish/spare_memory.h"
#include "store/store.h"

struct prewarm;

struct prewarm_setup {
	struct store *store; /* all borrowed */
	struct session *session;
	const struct spare_memory *spare_memory; /* NULL: always sufficient */
	uint64_t total_bytes;
};

int prewarm_new(struct prewarm **ret, const struct prewarm_setup *setup, struct err *err);
/* NULL is allowed. */
void prewarm_free(struct prewarm *prewarm);

DEFINE_CLEANUP(struct prewarm, prewarm_free)

/* For the publisher's thread. The kernel must know the node of the snapshot. It is likely to forget
 * `replaced` soon (NULL: none). */
void prewarm_store(struct prewarm *prewarm, struct snapshot *snapshot,
		   const struct snapshot *replaced, uint64_t limit_bytes);
/* The kernel has forgotten the snapshot and dropped its pages. */
void prewarm_released(struct prewarm *prewarm, struct snapshot *snapshot);

/* The number of bytes stored so far. From any thread. */
uint64_t prewarm_count(const struct prewarm *prewarm);

#endif
