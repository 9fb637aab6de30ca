/*
 * mover: moves one name to a new snapshot, and tells the kernel. For the publisher's thread.
 *
 *	1 the new snapshot is entered into the nodes and staged (mount/publish/stage.h)
 *	2 the visitor looks at it as .rpt/stage/ID: the kernel has its node
 *	3 its pages are stored there (mount/publish/prewarm.h)
 *
 * where the visitor can rename,
 *
 *	4 it moves the staged name over the public one. The handler of that RENAME changes what
 *	  the name leads to, has the directory's mtime rise, notes in the slots that it is
 *	  announced, and answers; the kernel then exchanges the dentries. Watchers see what they see
 *	  of a rename on a local disk; no look-up fails or waits
 *	5 it looks at the public name, so that no reader is asked for attributes
 *
 * and where it cannot,
 *
 *	4 listings come without the term's node, and those on their way are waited for; it is
 *	  noted that the name is about to show it; term_swap(): from here on look-ups answer the
 *	  new one; the directory's mtime rises
 *	5 NOTIFY_DELETE of the old dentry. It takes the directory's lock: when it returns, nothing
 *	  that was answered before 4 is still on its way. If the kernel did not know the name, a
 *	  listing that it caches may still be without it: NOTIFY_INVAL_INODE of the directory. That
 *	  it was announced is noted in the slots; the visitor looks at the name; the staged one is
 *	  forgotten
 *
 * then
 *
 *	6 the term's word in .rpt/generations is raised, in the kernel too
 *	7 the old snapshot is released if the kernel does not hold it
 *
 * A name that goes away is removed in the same two ways.
 */
#ifndef MOUNT_PUBLISH_MOVER_H
#define MOUNT_PUBLISH_MOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "mount/view/fs.h"
#include "mount/view/generations.h"
#include "mount/publish/headroom.h"
#include "mount/view/nodes.h"
#include "mount/connection/session.h"
#include "mount/connection/slots.h"
#include "mount/publish/stage.h"
#include "mount/view/tree.h"
#include "mount/publish/visitor.h"
#include "store/store.h"

/* The ways of moving, as user.rpt.publish_mode shows them. */
#define MOVER_RENAMES  "rename"
#define MOVER_NOTIFIES "notify"

struct mover;

struct mover_setup {
	struct tree *tree; /* all borrowed */
	struct nodes *nodes;
	struct store *store;
	struct session *session;
	struct slots *slots; /* where it is noted what was announced */
	struct generations *generations;
	struct stage *stage;
	struct visitor *visitor; /* NULL: none */
	const struct headroom *headroom;
	struct term *terms;
	size_t n_terms;
	uint64_t generations_id; /* of nodes */
	uint64_t virtual_dir_id;
	uint64_t stage_id;
	uint64_t prewarm_total_bytes;
	bool renames; /* the visitor is to try */
};

int mover_new(struct mover **ret, const struct mover_setup *setup, struct err *err);
/* NULL is allowed. */
void mover_free(struct mover *mover);

DEFINE_CLEANUP(struct mover, mover_free)

/* Takes the reference `next` (NULL: the name goes away). move: what stage_begin() gave for it,
 * where it is staged already; else NULL. */
void mover_publish(struct mover *mover, struct term *term, struct snapshot *next,
		   struct stage_move *move);

/* A superseded snapshot, if the kernel has let go of it. */
void mover_release_if_unheld(struct mover *mover, uint64_t id);

/* Has the visitor list the directory. */
void mover_list(struct mover *mover, const struct tree_dir *dir);

/* What a predecessor committed and nobody was shown. */
struct mover_held_back {
	struct term *term;
	struct snapshot *next; /* a reference, which mover_take_over() takes */
	struct stage_move *move;
};

/*
 * A predecessor may have died between the commit and 7 of any publish. 5 of a notification for each
 * superseded snapshot whose successor is not noted as announced (else the kernel would drop the
 * dentry that is right), 7 of all, and where what a name leads to is not noted its directory is
 * told; with another configuration (attributes) each directory, and all attributes. Then what was
 * held back is published as if it came just now, and 6 of all. What is told without need costs
 * readers a request each.
 */
void mover_take_over(struct mover *mover, bool attributes, const struct mover_held_back *held_back,
		     size_t n_held_back);

/* The mount is out of reach: says so in .rpt/generations; names move by notifications from now on,
 * for whoever still looks at it. */
void mover_end(struct mover *mover);

/* From any thread. */
const char *mover_mode(const struct mover *mover);
void mover_counts(const struct mover *mover, struct fs_publish_counts *ret);

#endif
