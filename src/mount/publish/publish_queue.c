#include "mount/publish/publish_queue.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

enum task_kind { TASK_PUBLISH, TASK_FORGOTTEN, TASK_LOST, TASK_LIST, TASK_TAKE_OVER, TASK_END };

struct task {
	enum task_kind kind;
	struct term *term;		       /* PUBLISH, LOST */
	struct snapshot *snapshot;	       /* PUBLISH, LOST: a reference */
	uint64_t id;			       /* FORGOTTEN */
	const struct tree_dir *dir;	       /* LIST */
	bool done;			       /* PUBLISH: guarded by lock */
	pthread_cond_t finished;	       /* PUBLISH: it is done */
	int64_t asked_at_ns;		       /* PUBLISH; clock_boot_ns() */
	struct err *err;		       /* PUBLISH: the caller's */
	int result;			       /* PUBLISH: 0 or -1, once done */
	bool attributes;		       /* TAKE_OVER */
	struct publisher_held_back *held_back; /* TAKE_OVER; n_held_back of them, owned */
	size_t n_held_back;
	void (*taken_over)(void *arg);
	void *arg;
	struct task *next;
	struct task *prev;
};

struct publish_queue {
	struct publish_queue_setup setup;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wanted;	     /* there is a task, or the queue is ending */
	pthread_cond_t over;	     /* the take-over is finished */
	struct task *tasks;	     /* guarded by lock */
	bool ending;		     /* guarded by lock */
	bool has_taken_over;	     /* guarded by lock */
	struct publisher *publisher; /* owned; the thread's */
	_Atomic uint64_t n_published;
	_Atomic int64_t published_ns;
};

/*
 * Invariants, checked by assertions where the lock is taken and released:
 *
 *	a task in the queue is not done, and has the fields of its kind
 *	a PUBLISH task belongs to its caller, which waits for it; the queue owns the others
 *	once `ending` is set it stays so, and no task is appended
 *	`has_taken_over` is set at most once, by TAKE_OVER
 */
static inline bool is_consistent_task(const struct task *task)
{
	switch (task->kind) {
	case TASK_PUBLISH:
		return task->term && task->err && !task->done && task->result == 0;
	case TASK_LOST:
		return task->term && task->snapshot;
	case TASK_LIST:
		return task->dir;
	case TASK_TAKE_OVER:
		return task->taken_over && !task->n_held_back == !task->held_back;
	case TASK_FORGOTTEN:
	case TASK_END:
		return !task->term && !task->snapshot;
	}
	return false;
}

/* Checks only the ends of the queue, so that a long queue costs no more than a short one. */
static inline bool is_consistent(const struct publish_queue *queue)
{
	const struct task *first = queue->tasks;

	return !first ||
	       (is_consistent_task(first) && is_consistent_task(first->prev) && !first->prev->next);
}

static void lock_queue(struct publish_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	assert(is_consistent(queue));
}

static void unlock_queue(struct publish_queue *queue)
{
	assert(is_consistent(queue));
	pthread_mutex_unlock(&queue->lock);
}

static void task_free(struct task *task)
{
	snapshot_unref(task->snapshot);
	free(task->held_back);
	free(task);
}

/* Publish tasks are on the stack of their callers, hints on the heap. Returns false if the queue is
 * ending: the caller still owns the task. */
static bool enqueue(struct publish_queue *queue, struct task *task)
{
	lock_queue(queue);
	bool taken = !queue->ending;
	if (taken) {
		DL_APPEND(queue->tasks, task);
		pthread_cond_signal(&queue->wanted);
	}
	unlock_queue(queue);
	return taken;
}

static void hint(struct publish_queue *queue, struct task *task)
{
	if (!enqueue(queue, task))
		task_free(task);
}

static int publish_timed(struct publish_queue *queue, const struct task *task)
{
	if (publisher_publish(queue->publisher, task->term, task->snapshot, NULL, task->err) < 0)
		return -1;
	if (!task->snapshot)
		return 0;
	atomic_fetch_add(&queue->n_published, 1);
	atomic_fetch_add(&queue->published_ns, clock_boot_ns() - task->asked_at_ns);
	return 0;
}

/* Drops the snapshot from the store first, so that it cannot come back at the next start. */
static void do_lost(struct publish_queue *queue, struct term *term, struct snapshot *snapshot)
{
	struct err err = ERR_INIT;
	struct snapshot *current = term_current(term);

	if (store_drop(queue->setup.publisher.store, snapshot, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "drop_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	if (current == snapshot) {
		publisher_publish(queue->publisher, term, NULL, NULL, &err); /* cannot fail */
		queue->setup.lost(queue->setup.lost_arg, term);
	}
	snapshot_unref(current);
}

static void do_take_over(struct publish_queue *queue, const struct task *task)
{
	publisher_take_over(queue->publisher, task->attributes, task->held_back, task->n_held_back);
	task->taken_over(task->arg);
	lock_queue(queue);
	queue->has_taken_over = true;
	pthread_cond_broadcast(&queue->over);
	unlock_queue(queue);
}

static void run(struct publish_queue *queue, struct task *task)
{
	switch (task->kind) {
	case TASK_PUBLISH:
		task->result = publish_timed(queue, task);
		lock_queue(queue);
		task->done = true;
		pthread_cond_signal(&task->finished);
		unlock_queue(queue);
		return; /* the task was on the caller's stack, which may be gone */
	case TASK_FORGOTTEN:
		publisher_release_if_unheld(queue->publisher, task->id);
		break;
	case TASK_LOST:
		do_lost(queue, task->term, task->snapshot);
		break;
	case TASK_LIST:
		publisher_list(queue->publisher, task->dir);
		break;
	case TASK_TAKE_OVER:
		do_take_over(queue, task);
		break;
	case TASK_END:
		publisher_end(queue->publisher);
		break;
	}
	task_free(task);
}

static struct task *dequeue(struct publish_queue *queue)
{
	struct task *task;

	lock_queue(queue);
	while (!queue->tasks && !queue->ending)
		pthread_cond_wait(&queue->wanted, &queue->lock);
	task = queue->tasks;
	if (task)
		DL_DELETE(queue->tasks, task);
	unlock_queue(queue);
	return task;
}

static void *queue_main(void *arg)
{
	struct publish_queue *queue = arg;
	struct task *task;

	pthread_setname_np(pthread_self(), "publisher");
	while ((task = dequeue(queue)))
		run(queue, task);
	return NULL;
}

int publish_queue_new(struct publish_queue **ret, const struct publish_queue_setup *setup,
		      struct err *err)
{
	_cleanup_free_ struct publish_queue *queue = calloc(1, sizeof(*queue));
	_cleanup_(publisher_free_cleanup) struct publisher *publisher = NULL;

	if (!queue)
		return err_set(err, ERR_INTERNAL, "publish queue: out of memory");
	if (publisher_new(&publisher, &setup->publisher, err) < 0)
		return -1;
	queue->setup = *setup;
	queue->publisher = publisher;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->wanted, NULL);
	pthread_cond_init(&queue->over, NULL);
	int failure = pthread_create(&queue->thread, NULL, queue_main, queue);
	if (failure)
		return err_set(err, ERR_INTERNAL, "publish queue: thread: %s", strerror(failure));
	steal_ptr(&publisher);
	*ret = steal_ptr(&queue);
	return 0;
}

void publish_queue_stop(struct publish_queue *queue)
{
	lock_queue(queue);
	queue->ending = true;
	pthread_cond_signal(&queue->wanted);
	unlock_queue(queue);
	pthread_join(queue->thread, NULL);
}

void publish_queue_free(struct publish_queue *queue)
{
	if (!queue)
		return;
	pthread_cond_destroy(&queue->over);
	pthread_cond_destroy(&queue->wanted);
	pthread_mutex_destroy(&queue->lock);
	publisher_free(queue->publisher);
	free(queue);
}

int publish_queue_publish(struct publish_queue *queue, struct term *term, struct snapshot *next,
			  struct err *err)
{
	struct task task = {
		.kind = TASK_PUBLISH,
		.term = term,
		.snapshot = next,
		.asked_at_ns = clock_boot_ns(),
		.err = err,
	};

	pthread_cond_init(&task.finished, NULL);
	if (!enqueue(queue, &task)) {
		pthread_cond_destroy(&task.finished);
		snapshot_unref(next); /* the next start publishes it: it is in the store */
		return 0;
	}
	lock_queue(queue);
	while (!task.done)
		pthread_cond_wait(&task.finished, &queue->lock);
	unlock_queue(queue);
	pthread_cond_destroy(&task.finished);
	return task.result;
}

void publish_queue_take_over(struct publish_queue *queue, bool attributes,
			     struct publisher_held_back *held_back, size_t n_held_back,
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
	hint(queue, task);
}

void publish_queue_wait_taken_over(struct publish_queue *queue, int64_t limit_ms)
{
	struct timespec until = clock_after(limit_ms);

	lock_queue(queue);
	while (!queue->has_taken_over && !queue->ending &&
	       pthread_cond_clockwait(&queue->over, &queue->lock, CLOCK_MONOTONIC, &until) == 0)
		;
	unlock_queue(queue);
}

const char *publish_queue_mode(const struct publish_queue *queue)
{
	return publisher_mode(queue->publisher);
}

void publish_queue_counts(struct publish_queue *queue, struct publish_counts *ret)
{
	*ret = (struct publish_counts){
		.published = atomic_load(&queue->n_published),
		.published_ns = (uint64_t)atomic_load(&queue->published_ns),
	};
	publisher_counts(queue->publisher, ret);
}

void publish_queue_announce_end(struct publish_queue *queue)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* the generations then show no end, as after a crash */
	task->kind = TASK_END;
	hint(queue, task);
}

void publish_queue_forgotten(struct publish_queue *queue, uint64_t id)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* the snapshot then stays until the next start */
	task->kind = TASK_FORGOTTEN;
	task->id = id;
	hint(queue, task);
}

void publish_queue_list(struct publish_queue *queue, const struct tree_dir *dir)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* readers continue to look up one name at a time */
	task->kind = TASK_LIST;
	task->dir = dir;
	hint(queue, task);
}

void publish_queue_lost(struct publish_queue *queue, struct term *term, struct snapshot *snapshot)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return; /* the next reader will find the corruption again */
	task->kind = TASK_LOST;
	task->term = term;
	task->snapshot = snapshot_ref(snapshot);
	hint(queue, task);
}
