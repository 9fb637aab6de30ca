/*
 * verifier: no byte that was written before this boot is served before its whole snapshot is
 * verified.
 *
 * Snapshots that were written before this boot are read and compared with their digest: in the
 * background, and at once when a program reads one. The READ of an unverified snapshot is parked
 * and answered by a thread of the verifier, so that no FUSE thread waits and look-ups continue.
 * Several threads do this, small snapshots first, and one of them takes small ones only: a large
 * snapshot does not delay the others.
 */
#ifndef MOUNT_VIEW_VERIFIER_H
#define MOUNT_VIEW_VERIFIER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cancel.h"
#include "base/err.h"
#include "mount/publish/publish_queue.h"
#include "store/store.h"

struct verifier;

enum verifier_verdict {
	VERIFIER_GOOD,
	VERIFIER_BAD,	  /* the bytes are wrong or unreadable */
	VERIFIER_STOPPED, /* not verified: the READ stays in its record for a successor */
};

/* A parked READ. answer() replies to it, unless the verifier was stopped, and frees it. */
struct verifier_read {
	struct snapshot *snapshot; /* a reference, released by answer() */
	struct term *term;
	void (*answer)(struct verifier_read *read, enum verifier_verdict verdict);
	struct verifier_read *next, *prev;
	uint64_t parked_at; /* the verifier's: how many verifications had begun */
};

struct verifier_setup {
	struct term *terms; /* all borrowed */
	size_t n_terms;
	struct store *store;
	struct publish_queue *publish_queue; /* removes corrupt snapshots */
	struct cancel *cancel;
};

/* Starts the threads. */
int verifier_new(struct verifier **ret, const struct verifier_setup *setup, struct err *err);
/* After cancellation. Ends the threads and answers the remaining reads with VERIFIER_STOPPED. */
void verifier_stop(struct verifier *verifier);
void verifier_free(struct verifier *verifier);

/* Takes `read`. Does not block. */
void verifier_park(struct verifier *verifier, struct verifier_read *read);

/* Reports corrupt bytes: logs them and queues the removal of the snapshot. */
void verifier_report(struct verifier *verifier, struct term *term, struct snapshot *snapshot,
		     const struct err *err);

#endif
