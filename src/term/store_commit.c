/*
 * What changes a term's snapshots: commit, removal, drop, release.
 *
 * A commit syncs its file in its own thread; linking, the directory's fsync and the row come in
 * this order from the leader of the queue. A commit that fails takes its file away again.
 */
#include <string.h>

#include "term/store_internal.h"

struct commit_job {
	struct job job;
	struct store_writer *writer;
	const char *term;
	const struct snapshot_info *info;
	unsigned history;
	struct snapshot *snapshot;
};

static int prepare_commit(struct store *store, struct job *job, struct err *err)
{
	struct commit_job *commit = container_of(job, struct commit_job, job);

	/* Taken by the leader, in the order of the queue, so that a term's ids rise. */
	if (catalog_take_id(store->catalog, &commit->snapshot->id, err) < 0 ||
	    store_writer_link(commit->writer, commit->snapshot->id, err) < 0)
		return -1;
	job->linked_id = commit->snapshot->id;
	return 0;
}

static int run_commit(struct store *store, struct job *job, struct err *err)
{
	struct commit_job *commit = container_of(job, struct commit_job, job);

	return catalog_insert(store->catalog, commit->term, commit->snapshot,
			      commit->info->source_version, commit->info->source_fingerprint,
			      commit->history, &store->deleted, err);
}

static void count_commit(struct store *store, struct job *job)
{
	struct commit_job *commit = container_of(job, struct commit_job, job);

	atomic_fetch_add(&store->n_snapshots, 1);
	atomic_fetch_add(&store->n_bytes, commit->snapshot->size_bytes);
}

static struct snapshot *describe(const struct store_writer *writer,
				 const struct snapshot_info *info)
{
	struct snapshot *snapshot = snapshot_new(info->version ? info->version : "",
						 info->source ? info->source : "");

	if (!snapshot)
		return NULL;
	snapshot->size_bytes = store_writer_size(writer);
	snapshot->mtime_ms = info->mtime_ms;
	snapshot->fetched_at_ms = info->fetched_at_ms;
	snapshot->order_key = info->order_key;
	memcpy(snapshot->sha256, store_writer_sha256(writer), DIGEST_SIZE);
	atomic_store(&snapshot->integrity, SNAPSHOT_VERIFIED);
	return snapshot;
}

int store_commit(struct store *store, struct store_writer *writer, const char *term,
		 const struct snapshot_info *info, unsigned history, struct snapshot **ret,
		 struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *snapshot = describe(writer, info);
	struct commit_job commit = {
		.job = { .kind = JOB_DURABLE,
			 .prepare = prepare_commit,
			 .run = run_commit,
			 .committed = count_commit },
		.writer = writer,
		.term = term,
		.info = info,
		.history = history,
		.snapshot = snapshot,
	};

	if (!snapshot)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", store->dir);
	if (store_writer_sync(writer, err) < 0)
		return -1;
	if (store_run(store, &commit.job, err) < 0) {
		if (commit.job.linked_id)
			store_unlink(store, commit.job.linked_id);
		return -1;
	}
	*ret = steal_ptr(&snapshot);
	return 0;
}

struct remove_job {
	struct job job;
	const char *term;
};

static int run_remove(struct store *store, struct job *job, struct err *err)
{
	struct remove_job *remove = container_of(job, struct remove_job, job);

	return catalog_remove_current(store->catalog, remove->term, err);
}

int store_remove_current(struct store *store, const char *term, struct err *err)
{
	struct remove_job remove = {
		.job = { .kind = JOB_DURABLE, .run = run_remove },
		.term = term,
	};

	return store_run(store, &remove.job, err);
}

struct drop_job {
	struct job job;
	uint64_t id;
};

static int run_drop(struct store *store, struct job *job, struct err *err)
{
	struct drop_job *drop = container_of(job, struct drop_job, job);

	return catalog_delete(store->catalog, drop->id, &store->deleted, err);
}

int store_drop(struct store *store, const struct snapshot *snapshot, struct err *err)
{
	struct drop_job drop = {
		.job = { .kind = JOB_DURABLE, .run = run_drop },
		.id = snapshot->id,
	};

	return store_run(store, &drop.job, err);
}

void store_release(struct store *store, const struct snapshot *snapshot)
{
	struct err err = ERR_INIT;

	pthread_mutex_lock(&store->lock);
	/* If memory is short the snapshot stays until the store is opened again. */
	catalog_files_add(&store->released, snapshot->id, snapshot->size_bytes, &err);
	pthread_mutex_unlock(&store->lock);
	store_tidy(store);
}
