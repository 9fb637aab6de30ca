/*
 * The queue in front of the catalog: leader, followers, and the transaction that they share.
 *
 * A leader prepares each job of its batch (a commit links its file), syncs each directory in which
 * a file was linked, and runs one transaction in which each job has its own savepoint. A job that
 * fails is undone alone. If the transaction as a whole fails, each job is tried in its own, so that
 * on a full disk only those fail for which there is no room. The files of deleted rows are deleted
 * after the transaction and after the followers have been woken. The file of a failed job is
 * deleted once it is certain that its row cannot come back.
 *
 * No thread waits for a release. Releases run with the next transaction that writes. A thread that
 * leaves the queue empty, or finds it empty, runs those that are left, without an fsync.
 *
 * Invariants, checked by assertions wherever the lock is taken or released. x: set, not
 * empty; -: unset, empty; *: either.
 *
 *	store		has_leader  queue  deleted, is_settled
 *	idle		    -	      -		-
 *	queued		    -	      x		-		the first job was woken and will lead
 *	leading		    x	      *		*		both belong to the leader
 *
 *	job		where	done  is_hopeless  is_in_doubt	result
 *	waiting		queue	 -	  -		-	  0
 *	prepared	batch	 -	  -		-	  0
 *	hopeless	batch	 -	  x		-	 -1	never ran
 *	in doubt	batch	 -	  -		x	0, -1	writes; -1 unless its own transaction
 *								then succeeded
 *	ended		-	 x	  *		*	0, -1	belongs to its thread again
 *
 *	step of a leader	before -> after
 *	enqueue			any -> waiting
 *	take_queue		idle, queued -> leading; waiting -> in the batch; takes `released`
 *				if a job writes
 *	prepare_batch		waiting -> prepared or hopeless
 *	run_batch		prepared -> result 0 or -1, perhaps in doubt; fills `deleted`
 *	store_take_deleted	`deleted` -> empty
 *	delete_failed		is_settled -> unset; `in_doubt` -> the files of the last jobs in doubt
 *	hand_over		leading -> idle or queued; batch -> ended
 *
 * `released`, `undeleted` and `in_doubt` may hold something in any state: releases that could not
 * be recorded and files that could not be deleted, for example on a full disk.
 */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "store/store_state.h"

#define UNDELETED_MAX 1024

static inline bool is_waiting(const struct job *job)
{
	return !job->done && !job->is_hopeless && !job->is_in_doubt && job->result == 0;
}

/* The invariants of a job in a leader's batch. */
static inline bool is_consistent_job(const struct job *job)
{
	return !job->done && !(job->is_hopeless && (job->is_in_doubt || job->result == 0)) &&
	       !(job->is_in_doubt && job->kind == JOB_READS) &&
	       (job->result == 0 || (job->result == -1 && job->err->kind != ERR_NONE));
}

/* The caller holds the lock. */
static inline bool is_consistent(const struct store *store)
{
	const struct job *first = store->queue;
	const struct job *last = first ? container_of(store->queue_end, struct job, next) : NULL;

	return *store->queue_end == NULL && !first == (store->queue_end == &store->queue) &&
	       (!first || (is_waiting(first) && is_waiting(last))) &&
	       (store->has_leader || (!store->deleted.n && !store->is_settled));
}

static void lock_queue(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	assert(is_consistent(store));
}

static void unlock_queue(struct store *store)
{
	assert(is_consistent(store));
	pthread_mutex_unlock(&store->lock);
}

/* Snapshots whose nodes the kernel no longer holds. */
struct release_job {
	struct job job;
	struct catalog_files ids; /* owned */
};

static int run_release(struct store *store, struct job *job, struct err *err)
{
	struct release_job *release = container_of(job, struct release_job, job);

	for (size_t i = 0; i < release->ids.n; i++) {
		if (catalog_release(store->catalog, release->ids.items[i].id, &store->deleted,
				    err) < 0)
			return -1;
	}
	return 0;
}

static void prepare_batch(struct store *store, struct job *batch)
{
	bool is_synced[STORE_SHARDS] = { false };

	for (struct job *job = batch; job; job = job->next) {
		job->is_hopeless = job->prepare && job->prepare(store, job, job->err) < 0;
		job->result = job->is_hopeless ? -1 : 0;
	}
	for (struct job *job = batch; job && !store->in_memory; job = job->next) {
		bool *synced = &is_synced[store_shard(job->linked_id)];

		if (job->is_hopeless || !job->linked_id || *synced)
			continue;
		if (store_sync_shard(store, job->linked_id, job->err) < 0) {
			job->is_hopeless = true;
			job->result = -1;
		} else {
			*synced = true;
		}
	}
}

/* Runs one job in a savepoint. Returns -1 with *err if the whole transaction is lost. */
static int run_in_transaction(struct store *store, struct job *job, struct err *err)
{
	size_t n_deleted = store->deleted.n;

	if (catalog_savepoint(store->catalog, err) < 0)
		return -1;
	job->result = job->run(store, job, job->err);
	if (job->result == 0)
		return catalog_keep(store->catalog, err);
	store->deleted.n = n_deleted;
	*err = *job->err;
	return catalog_undo(store->catalog);
}

static bool takes_part(const struct job *job, const struct job *only)
{
	return job->kind != JOB_READS && !job->is_hopeless && (!only || job == only);
}

/* Runs one transaction for the batch, or for one job of it. On failure nothing has changed. */
static int transact(struct store *store, struct job *batch, const struct job *only, bool durable,
		    struct err *err)
{
	struct catalog *catalog = store->catalog;
	size_t n_deleted = store->deleted.n;
	int result = catalog_begin(catalog, durable, err);

	for (struct job *job = batch; job && result == 0; job = job->next) {
		if (takes_part(job, only))
			result = run_in_transaction(store, job, err);
	}
	bool is_complete = result == 0;
	if (!is_complete || catalog_commit(catalog, err) < 0) {
		for (struct job *job = batch; job && is_complete; job = job->next)
			job->is_in_doubt |= takes_part(job, only) && catalog_is_in_doubt(catalog);
		catalog_rollback(catalog);
		store->deleted.n = n_deleted;
		return -1;
	}
	store->is_settled |= durable && catalog_has_written(catalog);
	for (struct job *job = batch; job; job = job->next) {
		if (takes_part(job, only) && job->result == 0 && job->committed)
			job->committed(store, job);
	}
	return 0;
}

/* Outside the transaction, which may still be rolled back. */
static void run_reads(struct store *store, struct job *batch)
{
	for (struct job *job = batch; job; job = job->next) {
		if (job->kind == JOB_READS && !job->is_hopeless)
			job->result = job->run(store, job, job->err);
	}
}

static void run_batch(struct store *store, struct job *batch, enum job_kind kind)
{
	struct err err = ERR_INIT;

	prepare_batch(store, batch);
	run_reads(store, batch);
	if (kind == JOB_READS)
		return;
	if (transact(store, batch, NULL, kind == JOB_DURABLE, &err) == 0)
		return;
	for (struct job *job = batch; job; job = job->next) {
		if (takes_part(job, NULL) &&
		    transact(store, batch, job, kind == JOB_DURABLE, &err) < 0) {
			job->result = -1;
			*job->err = err;
		}
	}
}

static enum job_kind kind_of(const struct job *batch)
{
	enum job_kind kind = JOB_READS;

	for (; batch; batch = batch->next) {
		if (batch->kind > kind)
			kind = batch->kind;
	}
	return kind;
}

/* Lets the next leader retry the deletion. If out of memory, or if there are too many such files,
 * they stay until the store is opened again. */
static void keep_undeleted(struct store *store, struct undeleted *file)
{
	lock_queue(store);
	if (file && store->n_undeleted < UNDELETED_MAX) {
		store->n_undeleted++;
		file->next = store->undeleted;
		store->undeleted = steal_ptr(&file);
	}
	unlock_queue(store);
	free(file);
}

bool store_delete_file(struct store *store, const char *path)
{
	size_t size = strlen(path) + 1;
	char reason[128];

	if (store_delete_path(store, path))
		return true;
	log_event(LOG_LEVEL_WARNING, "unlink_failed", LOG_STR("store", store->dir),
		  LOG_STR("file", path),
		  LOG_STR("error", strerror_r(errno, reason, sizeof(reason))));
	struct undeleted *file = malloc(sizeof(*file) + size);
	if (file)
		memcpy(file->path, path, size);
	keep_undeleted(store, file);
	return false;
}

/* Takes the list. Only the first failure of each was logged. */
static void delete_again(struct store *store, struct undeleted *files)
{
	for (struct undeleted *file = files, *next; file; file = next) {
		next = file->next;
		if (store_delete_path(store, file->path))
			free(file);
		else
			keep_undeleted(store, file);
	}
}

static void delete_file(struct store *store, uint64_t id)
{
	char path[STORE_PATH_SIZE];

	store_delete_file(store, store_path(id, path));
}

void store_delete_files(struct store *store, struct catalog_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		delete_file(store, files->items[i].id);
	catalog_files_release(files);
}

/* Deletes the files of failed jobs; of those in doubt when their rows cannot come back any more,
 * because a transaction has overwritten them in the log, durably or in doubt itself. */
static void delete_failed(struct store *store, const struct job *batch)
{
	struct catalog_files in_doubt = { .n = 0 };
	struct err err = ERR_INIT;
	bool is_any_in_doubt = false;

	for (const struct job *job = batch; job; job = job->next) {
		is_any_in_doubt |= job->is_in_doubt;
		if (job->result == 0 || !job->linked_id)
			continue;
		if (!job->is_in_doubt)
			delete_file(store, job->linked_id);
		else /* If out of memory, it stays until the store is opened again. */
			catalog_files_add(&in_doubt, job->linked_id, 0, &err);
	}
	if (is_any_in_doubt || store->is_settled) {
		store_delete_files(store, &store->in_doubt);
		store->in_doubt = in_doubt;
	}
	store->is_settled = false;
}

struct catalog_files store_take_deleted(struct store *store)
{
	struct catalog_files deleted = store->deleted;

	store->deleted = (struct catalog_files){ .n = 0 };
	for (size_t i = 0; i < deleted.n; i++) {
		atomic_fetch_sub(&store->n_snapshots, 1);
		atomic_fetch_sub(&store->n_bytes, deleted.items[i].size_bytes);
	}
	return deleted;
}

static struct undeleted *take_undeleted(struct store *store)
{
	lock_queue(store);
	struct undeleted *files = steal_ptr(&store->undeleted);
	store->n_undeleted = 0;
	unlock_queue(store);
	return files;
}

static void hand_over(struct store *store, struct job *batch)
{
	lock_queue(store);
	for (struct job *job = batch, *next; job; job = next) {
		assert(is_consistent_job(job));
		next = job->next; /* the job belongs to its thread once it is done */
		job->done = true;
		pthread_cond_signal(&job->wake);
	}
	store->has_leader = false;
	if (store->queue)
		pthread_cond_signal(&store->queue->wake);
	unlock_queue(store);
}

/* Keeps releases that could not be recorded, for example on a full disk, for the next batch. */
static void put_back(struct store *store, const struct catalog_files *released,
		     const struct err *why)
{
	struct err err = ERR_INIT;

	log_event(LOG_LEVEL_DEBUG, "release_deferred", LOG_STR("store", store->dir),
		  LOG_STR("error", why->msg));
	lock_queue(store);
	for (size_t i = 0; i < released->n; i++) {
		/* If out of memory, they stay until the store is opened again. */
		catalog_files_add(&store->released, released->items[i].id, 0, &err);
	}
	unlock_queue(store);
}

/* Runs the batch and wakes its threads. Takes the list `released`; returns false if it was put
 * back. */
static bool lead(struct store *store, struct job *batch, struct catalog_files released)
{
	struct err err = ERR_INIT;
	struct release_job release = {
		.job = { .kind = JOB_WRITES, .run = run_release, .next = batch, .err = &err },
		.ids = released,
	};
	struct job *first = released.n ? &release.job : batch;

	run_batch(store, first, kind_of(first));
	if (release.job.result < 0)
		put_back(store, &release.ids, &err);
	catalog_files_release(&release.ids);

	struct catalog_files deleted = store_take_deleted(store);
	struct undeleted *undeleted = take_undeleted(store);
	delete_failed(store, batch);
	hand_over(store, batch);
	delete_again(store, undeleted);
	store_delete_files(store, &deleted);
	return release.job.result == 0;
}

static struct catalog_files take_released(struct store *store)
{
	struct catalog_files released = store->released;

	store->released = (struct catalog_files){ .n = 0 };
	return released;
}

/* Runs releases until none is left. If another thread leads, that thread runs them. */
static void run_releases(struct store *store)
{
	for (;;) {
		struct catalog_files released = { .n = 0 };

		lock_queue(store);
		if (!store->has_leader && !store->queue && store->released.n) {
			released = take_released(store);
			store->has_leader = true;
		}
		unlock_queue(store);
		if (!released.n || !lead(store, NULL, released))
			return;
	}
}

void store_release(struct store *store, const struct snapshot *snapshot)
{
	struct err err = ERR_INIT;

	lock_queue(store);
	/* If out of memory, the snapshot stays until the store is opened again. */
	catalog_files_add(&store->released, snapshot->id, snapshot->size_bytes, &err);
	unlock_queue(store);
	run_releases(store);
}

/* Makes the caller, which holds the lock, the leader of the queued jobs. */
static struct job *take_queue(struct store *store, struct catalog_files *ret_released)
{
	struct job *batch = steal_ptr(&store->queue);

	store->queue_end = &store->queue;
	store->has_leader = true;
	if (kind_of(batch) != JOB_READS)
		*ret_released = take_released(store);
	return batch;
}

/* The caller holds the lock. */
static void enqueue(struct store *store, struct job *job)
{
	*store->queue_end = job;
	store->queue_end = &job->next;
}

int store_run(struct store *store, struct job *job, struct err *err)
{
	struct catalog_files released = { .n = 0 };
	struct job *batch = NULL;

	job->next = NULL;
	job->err = err;
	job->done = false;
	pthread_cond_init(&job->wake, NULL);

	lock_queue(store);
	enqueue(store, job);
	while (store->has_leader && !job->done)
		pthread_cond_wait(&job->wake, &store->lock);
	if (!job->done)
		batch = take_queue(store, &released);
	unlock_queue(store);

	if (batch) {
		lead(store, batch, released);
		run_releases(store);
	}
	pthread_cond_destroy(&job->wake);
	return job->result;
}
