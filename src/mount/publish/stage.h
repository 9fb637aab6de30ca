/*
 * stage: names that are about to move, as the FUSE handlers see them.
 *
 * With a writable handle of the mount a snapshot gets its name by rename(2): the kernel looks it up
 * as .rpt/stage/ID, and the visitor (mount/publish/visitor.h) moves that over the name. The handlers of
 * RENAME and UNLINK then change what the name leads to, and only for what stands here: nobody else
 * moves anything, whoever may ask.
 *
 *	stage_begin() ──► ready ──stage_move(), stage_remove()──► moved ──► stage_end(): true
 *	                    └──────────────────────────────────────────────► stage_end(): false
 *
 * Who has called stage_end() knows whether the name has moved; what comes later is refused.
 * Handlers do no I/O and wait for nothing, for the kernel holds the directories' locks meanwhile.
 */
#ifndef MOUNT_PUBLISH_STAGE_H
#define MOUNT_PUBLISH_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "term/term.h"

#define STAGE_NAME	"stage"
#define STAGE_NAME_SIZE 24 /* of an id as a name in it, with NUL */

struct stage;
struct stage_move;

int stage_new(struct stage **ret, struct err *err);
/* NULL is allowed. */
void stage_free(struct stage *stage);

DEFINE_CLEANUP(struct stage, stage_free)

/* The name of the term (borrowed) is to lead to `next` (borrowed; NULL: to go away). NULL when
 * memory is short. */
struct stage_move *stage_begin(struct stage *stage, struct term *term, struct snapshot *next);
/* Ends and frees the move. True if the name has moved: *ret_old is the snapshot from which, a
 * reference, the caller's, or NULL. */
bool stage_end(struct stage *stage, struct stage_move *move, struct snapshot **ret_old);

/* What is staged under this name: a reference, the caller's; NULL: nothing. */
struct snapshot *stage_find(struct stage *stage, const char *name, struct term **ret_term);

/* For RENAME of .rpt/stage/NAME to the term's name, and UNLINK of that. True if that was wanted,
 * and is done now: moved() is called in between, before the kernel hears of it. Also true if it is
 * so already, which a predecessor may have seen to. */
bool stage_move(struct stage *stage, const char *name, struct term *term,
		void (*moved)(void *arg, struct term *term, uint64_t id), void *arg);
bool stage_remove(struct stage *stage, struct term *term,
		  void (*moved)(void *arg, struct term *term, uint64_t id), void *arg);

#endif
