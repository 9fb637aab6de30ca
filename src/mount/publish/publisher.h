/*
 * publisher: publishes one snapshot: moves its name and notifies the kernel. Used by one thread,
 * that of mount/publish/publish_queue.h.
 *
 *	1 the new snapshot is added to the nodes and gets a staged name
 *	  (mount/namespace/pending_moves.h)
 *	2 the visitor stats it as .rpt/stage/ID: the kernel has its node
 *	3 its pages are stored there (mount/publish/prewarm.h)
 *
 * If the visitor can rename:
 *
 *	4 it moves the staged name over the public one. The handler of that RENAME changes what the
 *	  name points to, raises the directory's mtime, notes that the snapshot is announced
 *	  (mount/connection/inflight.h), and answers. Then the kernel exchanges the dentries.
 *	  Watchers see a rename as on a local disk; no look-up fails or waits
 *	5 the visitor stats the public name, so that no reader has to wait for attributes
 *
 * Otherwise:
 *
 *	4 listings come without the term's node, and those in flight are waited for. It is noted
 *	  that the name is about to show the snapshot. term_swap(): look-ups answer the new one
 *	  from here on. The directory's mtime rises
 *	5 NOTIFY_DELETE of the old dentry. It takes the directory's lock: when it returns, no answer
 *	  from before step 4 is in flight. If the kernel did not know the name, a cached listing
 *	  may still lack it: NOTIFY_INVAL_INODE of the directory. It is noted that the snapshot is
 *	  announced. If a program holds the old snapshot, the visitor stats it by its id, so that
 *	  watchers are told. The visitor stats the name; the staged one is forgotten
 *
 * Then:
 *
 *	6 the term's word in .rpt/generations is raised, also in the kernel's pages
 *	7 the old snapshot is released if the kernel does not hold it
 *
 * A name that goes away is removed in the same two ways.
 */
#ifndef MOUNT_PUBLISH_PUBLISHER_H
#define MOUNT_PUBLISH_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "mount/connection/inflight.h"
#include "mount/connection/session.h"
#include "mount/namespace/generations.h"
#include "mount/namespace/nodes.h"
#include "mount/namespace/pending_moves.h"
#include "mount/namespace/tree.h"
#include "mount/publish/publish_counts.h"
#include "mount/publish/spare_memory.h"
#include "mount/visitor/visitor.h"
#include "store/store.h"

/* The ways of moving, as user.rpt.publish_mode shows them. */
#define PUBLISHER_RENAMES  "rename"
#define PUBLISHER_NOTIFIES "notify"

struct publisher;

struct publisher_setup {
	struct tree *tree; /* all borrowed */
	struct nodes *nodes;
	struct store *store;
	struct session *session;
	struct inflight *inflight; /* notes what was announced */
	struct generations *generations;
	struct pending_moves *pending_moves;
	struct visitor *visitor; /* NULL: none */
	const struct spare_memory *spare_memory;
	struct term *terms;
	size_t n_terms;
	uint64_t generations_id; /* of nodes */
	uint64_t rpt_dir_id;
	uint64_t pending_dir_id;
	uint64_t prewarm_total_bytes;
	bool renames; /* try rename(2) first */
};

int publisher_new(struct publisher **ret, const struct publisher_setup *setup, struct err *err);
/* NULL is allowed. */
void publisher_free(struct publisher *publisher);

DEFINE_CLEANUP(struct publisher, publisher_free)

/* Takes the reference `next` (NULL: the name goes away, which cannot fail). move: from
 * pending_moves_begin() if it was staged before, taken; else NULL. ERR_INTERNAL: out of memory;
 * ERR_BUSY: something is mounted over the name (what was staged before is published nevertheless,
 * and unmounts it). After a failure the name points to what it pointed to. */
int publisher_publish(struct publisher *publisher, struct term *term, struct snapshot *next,
		      struct pending_move *move, struct err *err);

/* Releases a superseded snapshot if the kernel has forgotten it. */
void publisher_release_if_unheld(struct publisher *publisher, uint64_t id);

/* Makes the visitor list the directory. */
void publisher_list(struct publisher *publisher, const struct tree_dir *dir);

/* A snapshot that a predecessor committed but did not show. */
struct publisher_held_back {
	struct term *term;
	struct snapshot *next; /* a reference, which publisher_take_over() takes */
	struct pending_move *move;
};

/*
 * A predecessor may have died between the commit and step 7 of any publish. Therefore:
 *
 *	- step 5 of a notification for each superseded snapshot whose successor is not noted as
 *	  announced (if it is, the kernel would drop the right dentry)
 *	- step 7 for all superseded snapshots
 *	- invalidate the directory of each name whose snapshot is not noted as announced
 *	- with `attributes` (a changed configuration): invalidate all directories and attributes
 *	- publish the snapshots that were held back, as if they came just now
 *	- step 6 for all terms
 *
 * A notification that was not necessary costs readers one request.
 */
void publisher_take_over(struct publisher *publisher, bool attributes,
			 const struct publisher_held_back *held_back, size_t n_held_back);

/* The mount is unreachable: notes that in .rpt/generations. From now on names move by
 * notifications, for processes that still use it. */
void publisher_end(struct publisher *publisher);

/* From any thread. */
const char *publisher_mode(const struct publisher *publisher);
void publisher_counts(const struct publisher *publisher, struct publish_counts *ret);

#endif
