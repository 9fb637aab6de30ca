/*
 * publisher: moves names to new snapshots and tells the kernel.
 *
 * One thread does all of it, and alone notifies the kernel: a notification takes a directory's
 * lock, which an unanswered LOOKUP holds, so no FUSE handler may wait for this thread; handlers
 * leave hints and go on.
 *
 *	publish    1 the new snapshot is entered into the nodes
 *	           2 term_swap(): from here on look-ups and listings answer the new one
 *	           3 the directory's mtime rises
 *	           4 NOTIFY_DELETE of the old dentry. It takes the directory's lock: when
 *	             it returns, nothing that was answered before 2 is still on its way
 *	           5 if the kernel did not know the name, a listing that it caches may
 *	             still be without it: NOTIFY_INVAL_INODE of the directory;
 *	             that it was announced is noted in the slots
 *	           6 the term's word in .rpt/generations is raised, in the kernel too
 *	           7 the old snapshot is released if the kernel does not hold it
 *
 *	forgotten  the kernel may have let go of a superseded snapshot: it is asked, then 7
 *
 *	lost       the bytes turned out corrupt: the name goes away, the snapshot is dropped
 *
 *	take over  a predecessor may have died between the commit and 7 of any publish: 4 of
 *	           each superseded snapshot whose successor is not noted as announced (else the
 *	           kernel would drop the dentry that is right), 7 of all, 5 where a first
 *	           version is not noted; with another configuration 5 of each directory, and
 *	           all attributes; then 6 of all. What is told without need costs readers a request
 *each
 */
#ifndef MOUNT_PUBLISHER_H
#define MOUNT_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mount/generations.h"
#include "mount/nodes.h"
#include "mount/session.h"
#include "mount/slots.h"
#include "mount/tree.h"
#include "term/store.h"

struct publisher;

struct publisher_setup {
	struct tree *tree; /* all borrowed */
	struct nodes *nodes;
	struct store *store;
	struct session *session;
	struct slots *slots; /* where it is noted what was announced */
	struct generations *generations;
	uint64_t generations_id; /* the node's */
	struct term *terms;
	size_t n_terms;
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
 * whether the kernel may know others than are answered now; done(arg) when it knows these. */
void publisher_take_over(struct publisher *publisher, bool attributes, void (*done)(void *arg),
			 void *arg);

/* The mount is over: says so in the generations. Does not block. */
void publisher_announce_end(struct publisher *publisher);

/* Hints; neither blocks. A snapshot's reference is taken by the hint itself. */
void publisher_forgotten(struct publisher *publisher, uint64_t id);
void publisher_lost(struct publisher *publisher, struct term *term, struct snapshot *snapshot);

#endif
