#include "mount/publisher.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/util.h"
#include "mount/notifier.h"

enum task_kind { TASK_PUBLISH, TASK_FORGOTTEN, TASK_LOST, TASK_TAKE_OVER, TASK_END };

struct task {
	enum task_kind kind;
	struct term *term;	   /* PUBLISH, LOST */
	struct snapshot *snapshot; /* PUBLISH, LOST: a reference */
	uint64_t id;		   /* FORGOTTEN */
	bool done;		   /* PUBLISH: guarded by lock */
	bool attributes;	   /* TAKE_OVER */
	void (*taken_over)(void *arg);
	void *arg;
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

/* One that was hidden may have left the nodes while it was still the store's current one. */
static void release_old(struct publisher *publisher, const struct snapshot *old)
{
	if (session_kernel_holds(publisher->setup.session, old->id))
		return;
	snapshot_unref(nodes_remove(publisher->setup.nodes, old->id));
	store_release(publisher->setup.store, old);
}

/* ------------------------------------------------------------------ generations */

/* -ENOENT: nobody has opened the file. */
static int store_word(struct publisher *publisher, uint32_t slot)
{
	size_t offset = slot * sizeof(uint64_t);

	return session_notify_store(publisher->setup.session, publisher->setup.generations_id,
				    offset, generations_bytes(publisher->setup.generations, offset),
				    sizeof(uint64_t));
}

/* Whoever sees the word and opens gets that snapshot, so the name has moved before. */
static void raise_generation(struct publisher *publisher, const struct term *term, uint64_t id)
{
	generations_raise(publisher->setup.generations, term->slot, id);
	if (store_word(publisher, term->slot) == 0 && term->slot)
		store_word(publisher, 0);
}

/* The name went away: nobody has this id. */
static void raise_without_snapshot(struct publisher *publisher, const struct term *term)
{
	struct err err = ERR_INIT;
	uint64_t id;

	if (store_take_id(publisher->setup.store, &id, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "generation_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	else
		raise_generation(publisher, term, id);
}

static void store_all_words(struct publisher *publisher)
{
	struct session *session = publisher->setup.session;
	size_t used = generations_used(publisher->setup.generations);
	char *data = session_store_data(session);

	for (size_t offset = 0; offset < used; offset += NOTIFIER_DATA_MAX) {
		size_t len = used - offset < NOTIFIER_DATA_MAX ? used - offset : NOTIFIER_DATA_MAX;
		memcpy(data, generations_bytes(publisher->setup.generations, offset), len);
		if (session_notify_store(session, publisher->setup.generations_id, offset, data,
					 len) < 0)
			return;
	}
}

/* ------------------------------------------------------------------ publishing */

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
	if (next) {
		slots_note_announced(publisher->setup.slots, next->id);
		raise_generation(publisher, term, next->id);
	}
	if (!old)
		return;
	if (!next)
		raise_without_snapshot(publisher, term);
	nodes_supersede(publisher->setup.nodes, old->id);
	release_old(publisher, old);
	snapshot_unref(old);
}

/* Dropped first: what nobody may read again must not come back with the next start. */
static void do_lost(struct publisher *publisher, struct term *term, struct snapshot *snapshot)
{
	struct err err = ERR_INIT;
	struct snapshot *current = term_current(term);

	if (store_drop(publisher->setup.store, snapshot, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "drop_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	if (current == snapshot) {
		do_publish(publisher, term, NULL);
		publisher->setup.lost(publisher->setup.lost_arg, term);
	}
	snapshot_unref(current);
}

/* Does the kernel know that another snapshot is behind this term's name? */
static bool was_announced(struct publisher *publisher, struct term *term)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current && slots_was_announced(publisher->setup.slots, current->id);
}

/* What nobody holds was announced, for its dentry is gone. */
static void announce_superseded(struct publisher *publisher)
{
	_cleanup_free_ struct node_place *places = NULL;
	struct err err = ERR_INIT;
	const char *name;
	size_t n;

	if (nodes_superseded(publisher->setup.nodes, &places, &n, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "takeover_failed", LOG_STR("error", err.msg));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct tree_dir *dir = tree_place(publisher->setup.tree, places[i].term,
							&name);
		if (session_kernel_holds(publisher->setup.session, places[i].id) &&
		    !was_announced(publisher, places[i].term))
			session_notify_delete(publisher->setup.session, dir->id, places[i].id,
					      name);
		release_if_unheld(publisher, places[i].id);
	}
}

/* A listing that the kernel caches may lack a name, or have one that went away. From the leaves
 * up: what is retired can only be taken away once it is empty. */
static void announce_dirs(struct publisher *publisher)
{
	struct session *session = publisher->setup.session;
	size_t n;
	struct tree_dir *const *dirs = tree_dirs(publisher->setup.tree, &n);

	while (n > 0) {
		const struct tree_dir *dir = dirs[--n];
		if (dir->retired)
			session_notify_delete(session, dir->parent->id, dir->id, tree_name(dir));
		else
			session_notify_inval_dir(session, dir->id);
	}
}

/* Names that came with a first version which nobody has announced. */
static void announce_new(struct publisher *publisher)
{
	const char *name;

	for (size_t i = 0; i < publisher->setup.n_terms; i++) {
		struct term *term = &publisher->setup.terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

		if (!current || slots_was_announced(publisher->setup.slots, current->id))
			continue;
		session_notify_inval_dir(publisher->setup.session,
					 tree_place(publisher->setup.tree, term, &name)->id);
		slots_note_announced(publisher->setup.slots, current->id);
	}
}

static void announce_attributes(struct publisher *publisher)
{
	for (size_t i = 0; i < publisher->setup.n_terms; i++) {
		struct snapshot *snapshot = term_current(&publisher->setup.terms[i]);
		if (snapshot)
			session_notify_inval_attributes(publisher->setup.session, snapshot->id);
		snapshot_unref(snapshot);
	}
}

/* All names lead where they should. */
static void announce_generations(struct publisher *publisher)
{
	for (size_t i = 0; i < publisher->setup.n_terms; i++) {
		struct term *term = &publisher->setup.terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);
		if (current)
			generations_raise(publisher->setup.generations, term->slot, current->id);
	}
	store_all_words(publisher);
}

static void do_take_over(struct publisher *publisher, const struct task *task)
{
	announce_superseded(publisher);
	if (task->attributes) {
		announce_dirs(publisher);
		announce_attributes(publisher);
	} else {
		announce_new(publisher);
	}
	announce_generations(publisher);
	task->taken_over(task->arg);
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
	case TASK_TAKE_OVER:
		do_take_over(publisher, task);
		break;
	case TASK_END:
		generations_end(publisher->setup.generations);
		store_word(publisher, 0);
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

void publisher_take_over(struct publisher *publisher, bool attributes, void (*done)(void *arg),
			 void *arg)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task) {
		log_event(LOG_LEVEL_ERROR, "takeover_failed", LOG_STR("error", "out of memory"));
		return;
	}
	task->kind = TASK_TAKE_OVER;
	task->attributes = attributes;
	task->taken_over = done;
	task->arg = arg;
	hint(publisher, task);
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
