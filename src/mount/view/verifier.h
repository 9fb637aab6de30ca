/*
 * verifier: no byte of an earlier boot is served before the whole snapshot was checked.
 *
 * Snapshots that were written before this boot are read and compared with their digest: in the
 * background, the small ones first, and at once when somebody reads one. A READ of an unchecked
 * snapshot is parked and answered by a thread of the verifier, so that no FUSE thread waits and
 * look-ups go on.
 */
#ifndef MOUNT_VIEW_VERIFIER_H
#define MOUNT_VIEW_VERIFIER_H

#include <stddef.h>
#include <sys/types.h>

#include "base/cancel.h"
#include "base/err.h"
#include "mount/publish/publish_queue.h"
#include "store/store.h"

struct verifier;

enum verifier_verdict {
	VERIFIER_GOOD,
	VERIFIER_BAD,	  /* the bytes are wrong, or cannot be read */
	VERIFIER_STOPPED, /* nobody knows yet: the READ stays in its slot for a successor */
};

/* A READ that waits. answer() replies to it, unless the verifier was stopped, and frees it. */
struct verifier_read {
	struct snapshot *snapshot; /* a reference, released by answer() */
	struct term *term;
	void (*answer)(struct verifier_read *read, enum verifier_verdict verdict);
	struct verifier_read *next, *prev;
};

struct verifier_setup {
	struct term *terms; /* all borrowed */
	size_t n_terms;
	struct store *store;
	struct publish_queue *publish_queue; /* is told of what is corrupt */
	struct cancel *cancel;
};

/* Starts the threads. */
int verifier_new(struct verifier **ret, const struct verifier_setup *setup, struct err *err);
/* After cancellation: ends the threads; reads that still wait are let go. */
void verifier_stop(struct verifier *verifier);
void verifier_free(struct verifier *verifier);

/* Takes `read`. Does not block. */
void verifier_park(struct verifier *verifier, struct verifier_read *read);

/* Says that these bytes are bad: they are logged, and taken away by the publisher. */
void verifier_report(struct verifier *verifier, struct term *term, struct snapshot *snapshot,
		     const struct err *err);

#endif
