#include "mount/publish/stage.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/util.h"

enum move_state { MOVE_READY, MOVE_MOVING, MOVE_MOVED };

struct stage_move {
	struct term *term;
	struct snapshot *next; /* a reference; NULL: the name goes away */
	struct snapshot *old;  /* a reference, once moved */
	enum move_state state; /* guarded by stage.lock */
	struct stage_move *link_next;
};

struct stage {
	pthread_mutex_t lock;
	pthread_cond_t moved;	  /* some move is no longer MOVING */
	struct stage_move *moves; /* guarded by lock; few */
};

int stage_new(struct stage **ret, struct err *err)
{
	struct stage *stage = calloc(1, sizeof(*stage));

	if (!stage)
		return err_set(err, ERR_INTERNAL, "stage: out of memory");
	pthread_mutex_init(&stage->lock, NULL);
	pthread_cond_init(&stage->moved, NULL);
	*ret = stage;
	return 0;
}

static void move_free(struct stage_move *move)
{
	snapshot_unref(move->next);
	snapshot_unref(move->old);
	free(move);
}

void stage_free(struct stage *stage)
{
	struct stage_move *move, *next;

	if (!stage)
		return;
	LL_FOREACH_SAFE2(stage->moves, move, next, link_next)
	move_free(move);
	pthread_cond_destroy(&stage->moved);
	pthread_mutex_destroy(&stage->lock);
	free(stage);
}

struct stage_move *stage_begin(struct stage *stage, struct term *term, struct snapshot *next)
{
	struct stage_move *move = calloc(1, sizeof(*move));

	if (!move)
		return NULL;
	move->term = term;
	move->next = next ? snapshot_ref(next) : NULL;
	pthread_mutex_lock(&stage->lock);
	LL_PREPEND2(stage->moves, move, link_next);
	pthread_mutex_unlock(&stage->lock);
	return move;
}

bool stage_end(struct stage *stage, struct stage_move *move, struct snapshot **ret_old)
{
	pthread_mutex_lock(&stage->lock);
	while (move->state == MOVE_MOVING)
		pthread_cond_wait(&stage->moved, &stage->lock);
	LL_DELETE2(stage->moves, move, link_next);
	pthread_mutex_unlock(&stage->lock);
	bool has_moved = move->state == MOVE_MOVED;
	if (has_moved)
		*ret_old = steal_ptr(&move->old);
	move_free(move);
	return has_moved;
}

static bool has_name(const struct snapshot *snapshot, const char *name)
{
	char own[STAGE_NAME_SIZE];

	snprintf(own, sizeof(own), "%" PRIu64, snapshot->id);
	return strcmp(own, name) == 0;
}

struct snapshot *stage_find(struct stage *stage, const char *name, struct term **ret_term)
{
	struct snapshot *found = NULL;
	struct stage_move *move;

	pthread_mutex_lock(&stage->lock);
	LL_FOREACH2(stage->moves, move, link_next)
	{
		if (found || move->state != MOVE_READY || !move->next ||
		    !has_name(move->next, name))
			continue;
		found = snapshot_ref(move->next);
		*ret_term = move->term;
	}
	pthread_mutex_unlock(&stage->lock);
	return found;
}

/* Of the term, to the snapshot of that name (NULL: to none); it stays until it is not MOVING. */
static struct stage_move *claim(struct stage *stage, const struct term *term, const char *name)
{
	struct stage_move *move;

	pthread_mutex_lock(&stage->lock);
	LL_FOREACH2(stage->moves, move, link_next)
	{
		if (move->term != term || move->state != MOVE_READY || !move->next != !name ||
		    (name && !has_name(move->next, name)))
			continue;
		move->state = MOVE_MOVING;
		break;
	}
	pthread_mutex_unlock(&stage->lock);
	return move;
}

static void finish(struct stage *stage, struct stage_move *move, struct snapshot *old)
{
	pthread_mutex_lock(&stage->lock);
	move->old = old;
	move->state = MOVE_MOVED;
	pthread_cond_broadcast(&stage->moved);
	pthread_mutex_unlock(&stage->lock);
}

static bool is_so_already(struct term *term, const char *name)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current && name ? has_name(current, name) : !current && !name;
}

static bool perform(struct stage *stage, const char *name, struct term *term,
		    void (*moved)(void *arg, struct term *term, uint64_t id), void *arg)
{
	struct stage_move *move = claim(stage, term, name);

	if (!move)
		return is_so_already(term, name);
	struct snapshot *next = move->next;
	struct snapshot *old = term_swap(term, next ? snapshot_ref(next) : NULL);
	moved(arg, term, next ? next->id : 0);
	finish(stage, move, old);
	return true;
}

bool stage_move(struct stage *stage, const char *name, struct term *term,
		void (*moved)(void *arg, struct term *term, uint64_t id), void *arg)
{
	return perform(stage, name, term, moved, arg);
}

bool stage_remove(struct stage *stage, struct term *term,
		  void (*moved)(void *arg, struct term *term, uint64_t id), void *arg)
{
	return perform(stage, NULL, term, moved, arg);
}
