#include "mount/publisher.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/util.h"

enum task_kind { TASK_PUBLISH, TASK_FORGOTTEN, TASK_LOST };

struct task {
	enum task_kind kind;
	struct term *term;	   /* PUBLISH, LOST */
	struct snapshot *snapshot; /* PUBLISH, LOST: a reference */
	uint64_t id;		   /* FORGOTTEN */
	bool done;		   /* PUBLISH: guarded by lock */
	struct task *next;
	struct task *prev;
};

struct publisher {
	struct publisher_setup setup;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wanted;	 /* there is a task, or it is time to end */
	pthread_cond_t finished; /* some publish is done */
	struct task *tasks;	 /* guarded by lock */
	bool ending;		 /* guarded by lock */
};

static void task_free(struct task *task)
{
	snapshot_unref(task->snapshot);
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

static void announce(struct publisher *publisher, struct tree_dir *dir, const char *name,
		     uint64_t old_id)
{
	struct session *session = publisher->setup.session;
	int result = session_notify_delete(session, dir->id, old_id, name);

	if (result == -ENOENT)
		result = session_notify_inval_dir(session, dir->id);
	if (result < 0 && result != -ENOENT)
		log_event(LOG_LEVEL_DEBUG, "notify_failed", LOG_STR("dir", dir->path),
			  LOG_STR("name", name), LOG_STR("error", strerror(-result)));
}

static void release_if_unheld(struct publisher *publisher, uint64_t id)
{
	struct snapshot *snapshot;

	if (session_kernel_holds(publisher->setup.session, id))
		return;
	snapshot = nodes_remove(publisher->setup.nodes, id);
	if (!snapshot)
		return;
	store_release(publisher->setup.store, snapshot);
	snapshot_unref(snapshot);
}

/* Takes the reference `next`. */
static void do_publish(struct publisher *publisher, struct term *term, struct snapshot *next)
{
	struct err err = ERR_INIT;
	const char *name;
	struct tree_dir *dir = tree_place(publisher->setup.tree, term, &name);

	if (next && nodes_add(publisher->setup.nodes, next, term, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "publish_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
		snapshot_unref(next);
		return;
	}
	struct snapshot *old = term_swap(term, next);
	tree_touch(dir);
	announce(publisher, dir, name, old ? old->id : 0);
	if (!old)
		return;
	nodes_supersede(publisher->setup.nodes, old->id);
	release_if_unheld(publisher, old->id);
	snapshot_unref(old);
}

static void do_lost(struct publisher *publisher, struct term *term, struct snapshot *snapshot)
{
	struct err err = ERR_INIT;
	struct snapshot *current = term_current(term);

	if (current == snapshot)
		do_publish(publisher, term, NULL);
	if (store_drop(publisher->setup.store, snapshot, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "drop_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	if (current == snapshot)
		publisher->setup.lost(publisher->setup.lost_arg, term);
	snapshot_unref(current);
}

static void run(struct publisher *publisher, struct task *task)
{
	switch (task->kind) {
	case TASK_PUBLISH:
		do_publish(publisher, task->term, task->snapshot);
		pthread_mutex_lock(&publisher->lock);
		task->done = true;
		pthread_cond_broadcast(&publisher->finished);
		pthread_mutex_unlock(&publisher->lock);
		return; /* the task is gone with its owner's stack */
	case TASK_FORGOTTEN:
		release_if_unheld(publisher, task->id);
		break;
	case TASK_LOST:
		do_lost(publisher, task->term, task->snapshot);
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

	if (!publisher)
		return err_set(err, ERR_INTERNAL, "publisher: out of memory");
	publisher->setup = *setup;
	pthread_mutex_init(&publisher->lock, NULL);
	pthread_cond_init(&publisher->wanted, NULL);
	pthread_cond_init(&publisher->finished, NULL);
	int failure = pthread_create(&publisher->thread, NULL, publisher_main, publisher);
	if (failure)
		return err_set(err, ERR_INTERNAL, "publisher: thread: %s", strerror(failure));
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
	pthread_cond_destroy(&publisher->finished);
	pthread_cond_destroy(&publisher->wanted);
	pthread_mutex_destroy(&publisher->lock);
	free(publisher);
}

void publisher_publish(struct publisher *publisher, struct term *term, struct snapshot *next)
{
	struct task task = { .kind = TASK_PUBLISH, .term = term, .snapshot = next };

	if (!enqueue(publisher, &task)) {
		snapshot_unref(next); /* the next start publishes it: it is in the store */
		return;
	}
	pthread_mutex_lock(&publisher->lock);
	while (!task.done)
		pthread_cond_wait(&publisher->finished, &publisher->lock);
	pthread_mutex_unlock(&publisher->lock);
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
