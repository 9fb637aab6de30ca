/*
 * publisher: moves names to new snapshots and tells the kernel.
 *
 * One thread does all of it, and alone notifies the kernel: a notification takes a directory's
 * lock, which an unanswered LOOKUP holds, so no FUSE handler may wait for this thread; handlers
 * leave hints and go on.
 *
 *	publish    1 the new snapshot is entered into the nodes
 *	           2 term_swap(): from here on every look-up and listing answers the new one
 *	           3 the directory's mtime rises
 *	           4 NOTIFY_DELETE of the old dentry. It takes the directory's lock, so when it
 *returns no look-up or listing that was answered before 2 is still on its way 5 if the kernel did
 *not know the name, a listing that it caches may still be without it: NOTIFY_INVAL_INODE of the
 *directory 6 the old snapshot is released if the kernel does not hold it forgotten  the kernel may
 *have let go of a superseded snapshot: it is asked, then 6 lost       the bytes turned out corrupt:
 *the name goes away, the snapshot is dropped
 */
#ifndef MOUNT_PUBLISHER_H
#define MOUNT_PUBLISHER_H

#include <stdint.h>

#include "base/err.h"
#include "mount/nodes.h"
#include "mount/session.h"
#include "mount/tree.h"
#include "term/store.h"

struct publisher;

struct publisher_setup {
	struct tree *tree; /* all borrowed */
	struct nodes *nodes;
	struct store *store;
	struct session *session;
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

/* Hints; neither blocks. A snapshot's reference is taken by the hint itself. */
void publisher_forgotten(struct publisher *publisher, uint64_t id);
void publisher_lost(struct publisher *publisher, struct term *term, struct snapshot *snapshot);

#endif
