#include "mount/namespace/pending_moves.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/util.h"

enum move_state { MOVE_READY, MOVE_MOVING, MOVE_MOVED };

struct pending_move {
	struct term *term;
	struct snapshot *next; /* a reference; NULL: the name goes away */
	struct snapshot *old;  /* a reference, once moved */
	enum move_state state; /* guarded by pending_moves.lock */
	struct pending_move *link_next;
};

struct pending_moves {
	pthread_mutex_t lock;
	pthread_cond_t moved;	    /* some move is no longer MOVING */
	struct pending_move *moves; /* guarded by lock; few */
};

/*
 * Invariants, checked by assertions where the lock is taken and released:
 *
 *	state	next		old				the name points to
 *	READY	set or NULL	NULL				something else
 *	MOVING	set or NULL	NULL				what the handler decides
 *	MOVED	set or NULL	what the name pointed to	next
 *
 * A state only rises, and a move stays in the list until pending_moves_end().
 */
static inline bool is_consistent(const struct pending_moves *pending)
{
	const struct pending_move *move;

	LL_FOREACH2(pending->moves, move, link_next)
	{
		if (!move->term || (move->state != MOVE_MOVED && move->old))
			return false;
	}
	return true;
}

static void lock_moves(struct pending_moves *pending)
{
	pthread_mutex_lock(&pending->lock);
	assert(is_consistent(pending));
}

static void unlock_moves(struct pending_moves *pending)
{
	assert(is_consistent(pending));
	pthread_mutex_unlock(&pending->lock);
}

int pending_moves_new(struct pending_moves **ret, struct err *err)
{
	struct pending_moves *pending = calloc(1, sizeof(*pending));

	if (!pending)
		return err_set(err, ERR_INTERNAL, "pending moves: out of memory");
	pthread_mutex_init(&pending->lock, NULL);
	pthread_cond_init(&pending->moved, NULL);
	*ret = pending;
	return 0;
}

static void move_free(struct pending_move *move)
{
	snapshot_unref(move->next);
	snapshot_unref(move->old);
	free(move);
}

void pending_moves_free(struct pending_moves *pending)
{
	struct pending_move *move, *next;

	if (!pending)
		return;
	LL_FOREACH_SAFE2(pending->moves, move, next, link_next)
	move_free(move);
	pthread_cond_destroy(&pending->moved);
	pthread_mutex_destroy(&pending->lock);
	free(pending);
}

struct pending_move *pending_moves_begin(struct pending_moves *pending, struct term *term,
					 struct snapshot *next)
{
	struct pending_move *move = calloc(1, sizeof(*move));

	if (!move)
		return NULL;
	move->term = term;
	move->next = next ? snapshot_ref(next) : NULL;
	lock_moves(pending);
	LL_PREPEND2(pending->moves, move, link_next);
	unlock_moves(pending);
	return move;
}

bool pending_moves_end(struct pending_moves *pending, struct pending_move *move,
		       struct snapshot **ret_old)
{
	lock_moves(pending);
	while (move->state == MOVE_MOVING)
		pthread_cond_wait(&pending->moved, &pending->lock);
	LL_DELETE2(pending->moves, move, link_next);
	unlock_moves(pending);
	bool has_moved = move->state == MOVE_MOVED;
	if (has_moved)
		*ret_old = steal_ptr(&move->old);
	move_free(move);
	return has_moved;
}

static bool has_name(const struct snapshot *snapshot, const char *name)
{
	char own[PENDING_NAME_SIZE];

	snprintf(own, sizeof(own), "%" PRIu64, snapshot->id);
	return strcmp(own, name) == 0;
}

struct snapshot *pending_moves_find(struct pending_moves *pending, const char *name,
				    struct term **ret_term)
{
	struct snapshot *found = NULL;
	struct pending_move *move;

	lock_moves(pending);
	LL_FOREACH2(pending->moves, move, link_next)
	{
		if (found || move->state != MOVE_READY || !move->next ||
		    !has_name(move->next, name))
			continue;
		found = snapshot_ref(move->next);
		*ret_term = move->term;
	}
	unlock_moves(pending);
	return found;
}

/* Claims the READY move of the term to the snapshot with that staged name (NULL: its removal). The
 * move cannot go away while it is MOVING. NULL if there is none. */
static struct pending_move *claim(struct pending_moves *pending, const struct term *term,
				  const char *name)
{
	struct pending_move *move;

	lock_moves(pending);
	LL_FOREACH2(pending->moves, move, link_next)
	{
		if (move->term != term || move->state != MOVE_READY || !move->next != !name ||
		    (name && !has_name(move->next, name)))
			continue;
		move->state = MOVE_MOVING;
		break;
	}
	unlock_moves(pending);
	return move;
}

static void finish(struct pending_moves *pending, struct pending_move *move, struct snapshot *old)
{
	lock_moves(pending);
	move->old = old;
	move->state = MOVE_MOVED;
	pthread_cond_broadcast(&pending->moved);
	unlock_moves(pending);
}

static bool is_so_already(struct term *term, const char *name)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current && name ? has_name(current, name) : !current && !name;
}

static bool perform(struct pending_moves *pending, const char *name, struct term *term,
		    pending_moves_moved *moved, void *arg)
{
	struct pending_move *move = claim(pending, term, name);

	if (!move)
		return is_so_already(term, name);
	struct snapshot *next = move->next;
	struct snapshot *old = term_swap(term, next ? snapshot_ref(next) : NULL);
	moved(arg, term, old ? old->id : 0, next ? next->id : 0);
	finish(pending, move, old);
	return true;
}

bool pending_moves_rename(struct pending_moves *pending, const char *name, struct term *term,
			  pending_moves_moved *moved, void *arg)
{
	return perform(pending, name, term, moved, arg);
}

bool pending_moves_remove(struct pending_moves *pending, struct term *term,
			  pending_moves_moved *moved, void *arg)
{
	return perform(pending, NULL, term, moved, arg);
}
