/*
 * Changes to a term's snapshots: commit, republishing, removal, drop.
 *
 * A commit syncs its file in its own thread. The leader of the queue then links the file, syncs the
 * directory and inserts the row. The file of a commit that fails is deleted.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "store/store_state.h"

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

	/* Ids are taken in the order of the queue, so that those of one term rise. */
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
			      commit->history, true, &store->deleted, err);
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
	snapshot->mtime = info->mtime;
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
	if (store_run(store, &commit.job, err) < 0)
		return -1;
	*ret = steal_ptr(&snapshot);
	return 0;
}

struct republish_job {
	struct job job;
	const struct snapshot *old;
	const char *term;
	unsigned history;
	struct snapshot *snapshot;
	char *token; /* owned */
	uint64_t fingerprint;
};

static int link_again(struct store *store, uint64_t old_id, uint64_t id)
{
	char old_path[STORE_PATH_SIZE], path[STORE_PATH_SIZE];

	store_path(old_id, old_path);
	store_path(id, path);
	if (linkat(store->snapshots_fd, old_path, store->snapshots_fd, path, 0) == 0)
		return 0;
	if (errno != ENOENT || store_make_shard(store, path) < 0)
		return -1;
	return linkat(store->snapshots_fd, old_path, store->snapshots_fd, path, 0);
}

static int prepare_republish(struct store *store, struct job *job, struct err *err)
{
	struct republish_job *again = container_of(job, struct republish_job, job);
	enum snapshot_integrity integrity;
	int found = catalog_describe(store->catalog, again->old->id, again->term, &again->token,
				     &again->fingerprint, &integrity, err);

	if (found < 0)
		return -1;
	if (!found || integrity == SNAPSHOT_CORRUPT)
		return err_set(err, ERR_NOT_FOUND, "store %s: snapshot %" PRIu64 " of %s is %s",
			       store->dir, again->old->id, again->term,
			       found ? "corrupt" : "not kept any more");
	atomic_store(&again->snapshot->integrity, integrity);
	if (catalog_take_id(store->catalog, &again->snapshot->id, err) < 0)
		return -1;
	if (link_again(store, again->old->id, again->snapshot->id) < 0)
		return store_report_deleted(store, store->snapshots_fd, err)
			       ? -1
			       : err_errno(err, "store %s: linking snapshot %" PRIu64 " again",
					   store->dir, again->old->id);
	job->linked_id = again->snapshot->id;
	return 0;
}

static int run_republish(struct store *store, struct job *job, struct err *err)
{
	struct republish_job *again = container_of(job, struct republish_job, job);

	return catalog_insert(store->catalog, again->term, again->snapshot, again->token,
			      again->fingerprint, again->history, false, &store->deleted, err);
}

static void count_republish(struct store *store, struct job *job)
{
	struct republish_job *again = container_of(job, struct republish_job, job);

	atomic_fetch_add(&store->n_snapshots, 1);
	atomic_fetch_add(&store->n_bytes, again->snapshot->size_bytes);
}

int store_republish(struct store *store, const struct snapshot *snapshot, const char *term,
		    unsigned history, struct snapshot **ret, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *copy = snapshot_copy(snapshot);
	struct republish_job again = {
		.job = { .kind = JOB_DURABLE,
			 .prepare = prepare_republish,
			 .run = run_republish,
			 .committed = count_republish },
		.old = snapshot,
		.term = term,
		.history = history,
		.snapshot = copy,
	};

	if (!copy)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", store->dir);
	int result = store_run(store, &again.job, err);
	free(again.token);
	if (result < 0)
		return -1;
	*ret = steal_ptr(&copy);
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

	return catalog_condemn(store->catalog, drop->id, err);
}

int store_drop(struct store *store, const struct snapshot *snapshot, struct err *err)
{
	struct drop_job drop = {
		.job = { .kind = JOB_DURABLE, .run = run_drop },
		.id = snapshot->id,
	};

	return store_run(store, &drop.job, err);
}
