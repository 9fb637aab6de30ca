/*
 * pending_moves: names that are about to move, as the FUSE handlers see them.
 *
 * With a writable handle of the mount a snapshot gets its name by rename(2): the kernel looks it up
 * as .rpt/stage/ID (its staged name), and the visitor (mount/visitor/visitor.h) moves that over the
 * public name. The handlers of RENAME and UNLINK change what the name points to, but only if the
 * move is pending here. All other renames and removals are refused.
 *
 *	begin ──► READY ── rename or remove ──► MOVING ──► MOVED ──► end returns true
 *	            └──────────────────────────────────────────────► end returns false
 *
 * After pending_moves_end() the name cannot move any more: later requests are refused. Handlers do
 * no I/O and do not wait, because the kernel holds the locks of the directories.
 */
#ifndef MOUNT_NAMESPACE_PENDING_MOVES_H
#define MOUNT_NAMESPACE_PENDING_MOVES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "term/term.h"

#define PENDING_DIR_NAME  "stage"
#define PENDING_NAME_SIZE 24 /* of an id as a name in it, with NUL */

struct pending_moves;
struct pending_move;

int pending_moves_new(struct pending_moves **ret, struct err *err);
/* NULL is allowed. */
void pending_moves_free(struct pending_moves *pending);

DEFINE_CLEANUP(struct pending_moves, pending_moves_free)

/* The name of the term (borrowed) is about to move to `next` (borrowed; NULL: to go away). Returns
 * NULL if out of memory. */
struct pending_move *pending_moves_begin(struct pending_moves *pending, struct term *term,
					 struct snapshot *next);
/* Ends and frees the move. Returns true if the name has moved: *ret_old is the snapshot that it
 * pointed to (a reference for the caller) or NULL. */
bool pending_moves_end(struct pending_moves *pending, struct pending_move *move,
		       struct snapshot **ret_old);

/* The snapshot with this staged name (a reference for the caller), or NULL. */
struct snapshot *pending_moves_find(struct pending_moves *pending, const char *name,
				    struct term **ret_term);

/* The name of the term has moved from one id to another; 0: none. */
typedef void pending_moves_moved(void *arg, struct term *term, uint64_t from, uint64_t to);

/* For RENAME of .rpt/stage/NAME to the term's name, and UNLINK of the term's name. Returns true if
 * such a move was pending and is done now; moved() is called before the kernel gets its answer.
 * Also returns true if the name is already as requested, which a predecessor may have done. */
bool pending_moves_rename(struct pending_moves *pending, const char *name, struct term *term,
			  pending_moves_moved *moved, void *arg);
bool pending_moves_remove(struct pending_moves *pending, struct term *term,
			  pending_moves_moved *moved, void *arg);

#endif
