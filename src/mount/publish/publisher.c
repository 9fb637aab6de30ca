#include "mount/publish/publisher.h"

#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

enum task_kind { TASK_PUBLISH, TASK_FORGOTTEN, TASK_LOST, TASK_LIST, TASK_TAKE_OVER, TASK_END };

struct task {
	enum task_kind kind;
	struct term *term;		   /* PUBLISH, LOST */
	struct snapshot *snapshot;	   /* PUBLISH, LOST: a reference */
	uint64_t id;			   /* FORGOTTEN */
	const struct tree_dir *dir;	   /* LIST */
	bool done;			   /* PUBLISH: guarded by lock */
	pthread_cond_t finished;	   /* PUBLISH: it is done */
	int64_t asked_at_ns;		   /* PUBLISH; clock_boot_ns() */
	bool attributes;		   /* TAKE_OVER */
	struct mover_held_back *held_back; /* TAKE_OVER; n_held_back of them, owned */
	size_t n_held_back;
	void (*taken_over)(void *arg);
	void *arg;
	struct task *next;
	struct task *prev;
};

struct publisher {
	struct publisher_setup setup;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wanted; /* there is a task, or it is time to end */
	pthread_cond_t over;   /* it has taken over */
	struct task *tasks;    /* guarded by lock */
	bool ending;	       /* guarded by lock */
	bool has_taken_over;   /* guarded by lock */
	struct mover *mover;   /* owned; the thread's */
	_Atomic uint64_t n_published;
	_Atomic int64_t published_ns;
};

static void task_free(struct task *task)
{
	snapshot_unref(task->snapshot);
	free(task->held_back);
	free(task);
}

/* Publish tasks stand on the stack of whoever waits for them; hints are on the heap. False if the
 * publisher is ending: the task stays the caller's. */
static bool enqueue(struct publisher *publisher, struct task *task)
{
	pthread_mutex_lock(&publisher->lock);
	bool taken = !publisher->ending;
	if (taken) {
		DL_APPEND(publisher->tasks, task);
		pthread_cond_signal(&publisher->wanted);
	}
	pthread_mutex_unlock(&publisher->lock);
	return taken;
}

static void hint(struct publisher *publisher, struct task *task)
{
	if (!enqueue(publisher, task))
		task_free(task);
}

static void publish_in_time(struct publisher *publisher, const struct task *task)
{
	mover_publish(publisher->mover, task->term, task->snapshot, NULL);
	if (!task->snapshot)
		return;
	atomic_fetch_add(&publisher->n_published, 1);
	atomic_fetch_add(&publisher->published_ns, clock_boot_ns() - task->asked_at_ns);
}

/* Dropped first: what nobody may read again must not come back with the next start. */
static void do_lost(struct publisher *publisher, struct term *term, struct snapshot *snapshot)
{
	struct err err = ERR_INIT;
	struct snapshot *current = term_current(term);

	if (store_drop(publisher->setup.mover.store, snapshot, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "drop_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	if (current == snapshot) {
		mover_publish(publisher->mover, term, NULL, NULL);
		publisher->setup.lost(publisher->setup.lost_arg, term);
	}
	snapshot_unref(current);
}

static void do_take_over(struct publisher *publisher, const struct task *task)
{
	mover_take_over(publisher->mover, task->attributes, task->held_back, task->n_held_back);
	task->taken_over(task->arg);
	pthread_mutex_lock(&publisher->lock);
	publisher->has_taken_over = true;
	pthread_cond_broadcast(&publisher->over);
	pthread_mutex_unlock(&publisher->lock);
}

static void run(struct publisher *publisher, struct task *task)
{
	switch (task->kind) {
	case TASK_PUBLISH:
		publish_in_time(publisher, task);
		pthread_mutex_lock(&publisher->lock);
		task->done = true;
		pthread_cond_signal(&task->finished);
		pthread_mutex_unlock(&publisher->lock);
		return; /* the task is gone with its owner's stack */
	case TASK_FORGOTTEN:
		mover_release_if_unheld(publisher->mover, task->id);
		break;
	case TASK_LOST:
		do_lost(publisher, task->term, task->snapshot);
		break;
	case TASK_LIST:
		mover_list(publisher->mover, task->dir);
		break;
	case TASK_TAKE_OVER:
		do_take_over(publisher, task);
		break;
	case TASK_END:
		mover_end(publisher->mover);
		break;
	}
	task_free(task);
}

static struct task *dequeue(struct publisher *publisher)
{
	struct task *task;

	pthread_mutex_lock(&publisher->lock);
	while (!publisher->tasks && !publisher->ending)
		pthread_cond_wait(&publisher->wanted, &publisher->lock);
	task = publisher->tasks;
	if (task)
		DL_DELETE(publisher->tasks, task);
	pthread_mutex_unlock(&publisher->lock);
	return task;
}

static void *publisher_main(void *arg)
{
	struct publisher *publisher = arg;
	struct task *task;

	pthread_setname_np(pthread_self(), "publisher");
	while ((task = dequeue(publisher)))
		run(publisher, task);
	return NULL;
}

int publisher_new(struct publisher **ret, const struct publisher_setup *setup, struct err *err)
{
	_cleanup_free_ struct publisher *publisher = calloc(1, sizeof(*publisher));
	_cleanup_(mover_free_cleanup) struct mover *mover = NULL;

	if (!publisher)
		return err_set(err, ERR_INTERNAL, "publisher: out of memory");
	if (mover_new(&mover, &setup->mover, err) < 0)
		return -1;
	publisher->setup = *setup;
	publisher->mover = mover;
	pthread_mutex_init(&publisher->lock, NULL);
	pthread_cond_init(&publisher->wanted, NULL);
	pthread_cond_init(&publisher->over, NULL);
	int failure = pthread_create(&publisher->thread, NULL, publisher_main, publisher);
	if (failure)
		return err_set(err, ERR_INTERNAL, "publisher: thread: %s", strerror(failure));
	steal_ptr(&mover);
	*ret = steal_ptr(&publisher);
	return 0;
}

void publisher_stop(struct publisher *publisher)
{
	pthread_mutex_lock(&publisher->lock);
	publisher->ending = true;
	pthread_cond_signal(&publisher->wanted);
	pthread_mutex_unlock(&publisher->lock);
	pthread_join(publisher->thread, NULL);
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	pthread_cond_destroy(&publisher->over);
	pthread_cond_destroy(&publisher->wanted);
	pthread_mutex_destroy(&publisher->lock);
	mover_free(publisher->mover);
	free(publisher);
}

void publisher_publish(struct publisher *publisher, struct term *term, struct snapshot *next)
{
	struct task task = {
		.kind = TASK_PUBLISH, .term = term, .snapshot = next, .asked_at_ns = clock_boot_ns()
	};

	pthread_cond_init(&task.finished, NULL);
	if (!enqueue(publisher, &task)) {
		pthread_cond_destroy(&task.finished);
		snapshot_unref(next); /* the next start publishes it: it is in the store */
		return;
	}
	pthread_mutex_lock(&publisher->lock);
	while (!task.done)
		pthread_cond_wait(&task.finished, &publisher->lock);
	pthread_mutex_unlock(&publisher->lock);
	pthread_cond_destroy(&task.finished);
}

void publisher_take_over(struct publisher *publisher, bool attributes,
			 struct mover_held_back *held_back, size_t n_held_back,
			 void (*done)(void *arg), void *arg)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task) {
		log_event(LOG_LEVEL_ERROR, "takeover_failed", LOG_STR("error", "out of memory"));
		free(held_back);
		return;
	}
	task->kind = TASK_TAKE_OVER;
	task->attributes = attributes;
	task->held_back = held_back;
	task->n_held_back = n_held_back;
	task->taken_over = done;
	task->arg = arg;
	hint(publisher, task);
}

void publisher_wait_taken_over(struct publisher *publisher, int64_t limit_ms)
{
	struct timespec until = clock_after(limit_ms);

	pthread_mutex_lock(&publisher->lock);
	while (!publisher->has_taken_over && !publisher->ending &&
	       pthread_cond_clockwait(&publisher->over, &publisher->lock, CLOCK_MONOTONIC,
				      &until) == 0)
		;
	pthread_mutex_unlock(&publisher->lock);
}

const char *publisher_mode(const struct publisher *publisher)
{
	return mover_mode(publisher->mover);
}

void publisher_counts(struct publisher *publisher, struct fs_publish_counts *ret)
{
	*ret = (struct fs_publish_counts){
		.published = atomic_load(&publisher->n_published),
		.published_ns = (uint64_t)atomic_load(&publisher->published_ns),
	};
	mover_counts(publisher->mover, ret);
}

void publisher_announce_end(struct publisher *publisher)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* as if the worker had died */
	task->kind = TASK_END;
	hint(publisher, task);
}

void publisher_forgotten(struct publisher *publisher, uint64_t id)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* the snapshot then stays until the next start */
	task->kind = TASK_FORGOTTEN;
	task->id = id;
	hint(publisher, task);
}

void publisher_list(struct publisher *publisher, const struct tree_dir *dir)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* readers go on looking up name by name */
	task->kind = TASK_LIST;
	task->dir = dir;
	hint(publisher, task);
}

void publisher_lost(struct publisher *publisher, struct term *term, struct snapshot *snapshot)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* the next reader will find the same */
	task->kind = TASK_LOST;
	task->term = term;
	task->snapshot = snapshot_ref(snapshot);
	hint(publisher, task);
}
