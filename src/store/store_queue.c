/*
 * The queue in front of the catalog: leader, followers, and the transaction that they share.
 *
 * A batch is: prepare each job (a commit links its file), one fsync for each directory in which
 * something was linked, one transaction in which each job has a savepoint of its own. A job that
 * fails is undone alone. If the transaction as a whole fails, each job is tried in one of its own,
 * so that only those fail for which there is no room. Files of deleted rows are unlinked after the
 * transaction, and after the followers were let go; those of failed jobs not before it is certain
 * that their rows do not come back.
 *
 * Releases wait for nobody: they ride along in the next transaction that writes, and who leaves
 * the queue empty, or finds it so, does what has gathered, without an fsync.
 */
#include <fcntl.h>

#include "base/log.h"
#include "store/store_internal.h"

/* What kernels have let go of since the last time. */
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

static int sync_shard(struct store *store, uint64_t id, struct err *err)
{
	char path[STORE_PATH_SIZE];

	store_path(id, path);
	path[2] = '\0';
	_cleanup_close_ int fd = openat(store->snapshots_fd, path,
					O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_errno(err, "store %s: fsync of snapshots/%s", store->dir, path);
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
		if (sync_shard(store, job->linked_id, job->err) < 0) {
			job->is_hopeless = true;
			job->result = -1;
		} else {
			*synced = true;
		}
	}
}

/* Runs one job between two savepoints. -1 if the whole transaction is lost; *err says why. */
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

/* One transaction for the batch, or for one job of it. On failure nothing has changed. */
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

/* Outside the transaction: what is read there may never come to be. */
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

static void unlink_files(struct store *store, struct catalog_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		store_unlink(store, files->items[i].id);
	catalog_files_release(files);
}

/* The files of failed jobs go; of those in doubt as soon as their rows cannot come back any more:
 * something was written over them in the log, in doubt itself or durably. */
static void unlink_failed(struct store *store, const struct job *batch)
{
	struct catalog_files doubtful = { .n = 0 };
	struct err err = ERR_INIT;
	bool is_any_in_doubt = false;

	for (const struct job *job = batch; job; job = job->next) {
		is_any_in_doubt |= job->is_in_doubt;
		if (job->result == 0 || !job->linked_id)
			continue;
		if (!job->is_in_doubt)
			store_unlink(store, job->linked_id);
		else /* If memory is short it stays until the store is opened again. */
			catalog_files_add(&doubtful, job->linked_id, 0, &err);
	}
	if (is_any_in_doubt || store->is_settled) {
		unlink_files(store, &store->doubtful);
		store->doubtful = doubtful;
	}
	store->is_settled = false;
}

static struct catalog_files take_lingering(struct store *store)
{
	struct catalog_files lingering = { .n = 0 };

	pthread_mutex_lock(&store->lock);
	lingering = store->lingering;
	store->lingering = (struct catalog_files){ .n = 0 };
	pthread_mutex_unlock(&store->lock);
	return lingering;
}

static void hand_over(struct store *store, struct job *batch)
{
	pthread_mutex_lock(&store->lock);
	for (struct job *job = batch, *next; job; job = next) {
		next = job->next; /* job belongs to its thread again once it is done */
		job->done = true;
		pthread_cond_signal(&job->wake);
	}
	store->has_leader = false;
	if (store->queue)
		pthread_cond_signal(&store->queue->wake);
	pthread_mutex_unlock(&store->lock);
}

/* What could not be noted, on a full disk for example, is tried again with the next batch. */
static void put_back(struct store *store, struct catalog_files *released, const struct err *why)
{
	struct err err = ERR_INIT;

	log_event(LOG_LEVEL_DEBUG, "release_deferred", LOG_STR("store", store->dir),
		  LOG_STR("error", why->msg));
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < released->n; i++) {
		/* If memory is short they stay until the store is opened again. */
		catalog_files_add(&store->released, released->items[i].id, 0, &err);
	}
	pthread_mutex_unlock(&store->lock);
}

/* From taking the batch to letting its threads go. Takes the list `released`; false if it was put
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

	struct catalog_files deleted = store->deleted;
	store->deleted = (struct catalog_files){ .n = 0 };
	for (size_t i = 0; i < deleted.n; i++) {
		atomic_fetch_sub(&store->n_snapshots, 1);
		atomic_fetch_sub(&store->n_bytes, deleted.items[i].size_bytes);
	}
	struct catalog_files lingering = take_lingering(store);
	unlink_failed(store, batch);
	hand_over(store, batch);
	unlink_files(store, &lingering);
	unlink_files(store, &deleted);
	return release.job.result == 0;
}

/* Makes the caller, which holds the lock, the leader of what is queued. */
static struct job *take_queue(struct store *store, struct catalog_files *ret_released)
{
	struct job *batch = steal_ptr(&store->queue);

	store->queue_end = &store->queue;
	store->has_leader = true;
	if (kind_of(batch) != JOB_READS) {
		*ret_released = store->released;
		store->released = (struct catalog_files){ .n = 0 };
	}
	return batch;
}

void store_tidy(struct store *store)
{
	for (;;) {
		struct catalog_files released = { .n = 0 };

		pthread_mutex_lock(&store->lock);
		if (!store->has_leader && !store->queue && store->released.n) {
			released = store->released;
			store->released = (struct catalog_files){ .n = 0 };
			store->has_leader = true;
		}
		pthread_mutex_unlock(&store->lock);
		if (!released.n || !lead(store, NULL, released))
			return;
	}
}

int store_run(struct store *store, struct job *job, struct err *err)
{
	struct catalog_files released = { .n = 0 };
	struct job *batch = NULL;

	job->next = NULL;
	job->err = err;
	job->done = false;
	pthread_cond_init(&job->wake, NULL);

	pthread_mutex_lock(&store->lock);
	*store->queue_end = job;
	store->queue_end = &job->next;
	while (store->has_leader && !job->done)
		pthread_cond_wait(&job->wake, &store->lock);
	if (!job->done)
		batch = take_queue(store, &released);
	pthread_mutex_unlock(&store->lock);

	if (batch) {
		lead(store, batch, released);
		store_tidy(store);
	}
	pthread_cond_destroy(&job->wake);
	return job->result;
}
