/*
 * publisher: the one thread that moves names to new snapshots and notifies the kernel.
 *
 * What it does to a name is the mover's matter (mount/publish/mover.h); here is its queue. A notification
 * or a rename takes a directory's lock, which an unanswered LOOKUP holds, so no FUSE handler may
 * wait for this thread; handlers leave hints and go on.
 *
 *	publish    a name moves, or goes away
 *	forgotten  the kernel may have let go of a superseded snapshot
 *	lost       the bytes turned out corrupt: the name goes away, the snapshot is dropped
 *	take over  a predecessor may have died in the middle of any of these
 */
#ifndef MOUNT_PUBLISH_PUBLISHER_H
#define MOUNT_PUBLISH_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mount/publish/mover.h"

struct publisher;

struct publisher_setup {
	struct mover_setup mover;
	void (*lost)(void *arg, struct term *term);
	void *lost_arg;
};

/* Starts the thread. */
int publisher_new(struct publisher **ret, const struct publisher_setup *setup, struct err *err);
/* Does what was asked for before, then ends the thread; the session must still be served, for a
 * notification may wait for the answer to a LOOKUP. Hints that come later are dropped. */
void publisher_stop(struct publisher *publisher);
/* After publisher_stop(), when no handler runs any more. */
void publisher_free(struct publisher *publisher);

/* Takes the reference `next` (NULL: the name goes away). Blocks until the kernel has been told. */
void publisher_publish(struct publisher *publisher, struct term *term, struct snapshot *next);

/* Before anything is published. Does not block; requests must be answered meanwhile. attributes:
 * whether the kernel may know others than are answered now; Takes the array held_back. done(arg)
 * when the kernel knows all. */
void publisher_take_over(struct publisher *publisher, bool attributes,
			 struct mover_held_back *held_back, size_t n_held_back,
			 void (*done)(void *arg), void *arg);
/* Blocks until that is over, or for so long. */
void publisher_wait_taken_over(struct publisher *publisher, int64_t limit_ms);

/* Hints; none blocks. A snapshot's reference is taken by the hint itself. */
void publisher_forgotten(struct publisher *publisher, uint64_t id);
/* Many names of the directory are being looked up one by one: have all of them listed. */
void publisher_list(struct publisher *publisher, const struct tree_dir *dir);
void publisher_lost(struct publisher *publisher, struct term *term, struct snapshot *snapshot);
/* The mount is over: says so in the generations. */
void publisher_announce_end(struct publisher *publisher);

/* From any thread. */
const char *publisher_mode(const struct publisher *publisher);
void publisher_counts(struct publisher *publisher, struct fs_publish_counts *ret);

#endif
