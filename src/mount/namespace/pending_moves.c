#include "mount/namespace/pending_moves.h"

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
	pthread_mutex_lock(&pending->lock);
	LL_PREPEND2(pending->moves, move, link_next);
	pthread_mutex_unlock(&pending->lock);
	return move;
}

bool pending_moves_end(struct pending_moves *pending, struct pending_move *move,
		       struct snapshot **ret_old)
{
	pthread_mutex_lock(&pending->lock);
	while (move->state == MOVE_MOVING)
		pthread_cond_wait(&pending->moved, &pending->lock);
	LL_DELETE2(pending->moves, move, link_next);
	pthread_mutex_unlock(&pending->lock);
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

	pthread_mutex_lock(&pending->lock);
	LL_FOREACH2(pending->moves, move, link_next)
	{
		if (found || move->state != MOVE_READY || !move->next ||
		    !has_name(move->next, name))
			continue;
		found = snapshot_ref(move->next);
		*ret_term = move->term;
	}
	pthread_mutex_unlock(&pending->lock);
	return found;
}

/* Of the term, to the snapshot of that name (NULL: to none); it stays until it is not MOVING. */
static struct pending_move *claim(struct pending_moves *pending, const struct term *term,
				  const char *name)
{
	struct pending_move *move;

	pthread_mutex_lock(&pending->lock);
	LL_FOREACH2(pending->moves, move, link_next)
	{
		if (move->term != term || move->state != MOVE_READY || !move->next != !name ||
		    (name && !has_name(move->next, name)))
			continue;
		move->state = MOVE_MOVING;
		break;
	}
	pthread_mutex_unlock(&pending->lock);
	return move;
}

static void finish(struct pending_moves *pending, struct pending_move *move, struct snapshot *old)
{
	pthread_mutex_lock(&pending->lock);
	move->old = old;
	move->state = MOVE_MOVED;
	pthread_cond_broadcast(&pending->moved);
	pthread_mutex_unlock(&pending->lock);
}

static bool is_so_already(struct term *term, const char *name)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current && name ? has_name(current, name) : !current && !name;
}

static bool perform(struct pending_moves *pending, const char *name, struct term *term,
		    void (*moved)(void *arg, struct term *term, uint64_t id), void *arg)
{
	struct pending_move *move = claim(pending, term, name);

	if (!move)
		return is_so_already(term, name);
	struct snapshot *next = move->next;
	struct snapshot *old = term_swap(term, next ? snapshot_ref(next) : NULL);
	moved(arg, term, next ? next->id : 0);
	finish(pending, move, old);
	return true;
}

bool pending_moves_rename(struct pending_moves *pending, const char *name, struct term *term,
			  void (*moved)(void *arg, struct term *term, uint64_t id), void *arg)
{
	return perform(pending, name, term, moved, arg);
}

bool pending_moves_remove(struct pending_moves *pending, struct term *term,
			  void (*moved)(void *arg, struct term *term, uint64_t id), void *arg)
{
	return perform(pending, NULL, term, moved, arg);
}
