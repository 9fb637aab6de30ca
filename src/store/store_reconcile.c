/*
 * Makes files and catalog consistent.
 *
 * Opening the store for a fresh mount: a file without a row was left by a crash between link and
 * commit. Such files are deleted first, which also makes room on a full disk. Then rows whose file
 * is missing or has another length are dropped, and so are snapshots that no term's history keeps.
 * The kernel holds nothing at this time.
 *
 * Taking over a mount: orphaned files are deleted later, beside commits. Only files with an id from
 * a previous opening are considered. Their rows can be deleted meanwhile, but none is added.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/directory.h"
#include "base/log.h"
#include "store/store_state.h"

struct row {
	uint64_t id;
	uint64_t size_bytes;
	int64_t found_bytes; /* -1: no such file */
};

struct reconciliation {
	struct store *store; /* borrowed */
	uint64_t end_id;     /* files with this id or a larger one are left alone */
	bool is_opening;     /* no other thread uses the store: compares the lengths of files */
	const char *shard;   /* the directory that is being listed */
	struct row *rows;    /* owned; ordered by id */
	size_t n_rows;
	size_t capacity;
	uint64_t last_id;    /* the largest id of a file */
	uint64_t n_orphaned; /* files that were deleted */
};

static void reconciliation_release(struct reconciliation *work)
{
	free(work->rows);
}

static int add_row(void *arg, uint64_t id, uint64_t size_bytes, struct err *err)
{
	struct reconciliation *work = arg;

	if (work->n_rows == work->capacity) {
		size_t capacity = work->capacity ? 2 * work->capacity : 256;
		struct row *rows = reallocarray(work->rows, capacity, sizeof(*rows));

		if (!rows)
			return err_set(err, ERR_INTERNAL, "store %s: out of memory",
				       work->store->dir);
		work->rows = rows;
		work->capacity = capacity;
	}
	work->rows[work->n_rows++] = (struct row){ id, size_bytes, -1 };
	return 0;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	return (left->id > right->id) - (left->id < right->id);
}

/* What cannot be deleted now is deleted later. */
static void remove_orphan(struct reconciliation *work, const char *path)
{
	if (store_delete_file(work->store, path))
		work->n_orphaned++;
}

static int check_file(void *arg, int shard_fd, const char *name)
{
	struct reconciliation *work = arg;
	struct row key = { .id = store_parse_id(work->shard, name) };
	struct row *row = NULL;
	char path[STORE_PATH_SIZE];
	struct stat st;

	if (key.id == 0 || key.id >= work->end_id)
		return 0;
	if (key.id > work->last_id)
		work->last_id = key.id;
	if (work->n_rows)
		row = bsearch(&key, work->rows, work->n_rows, sizeof(*row), compare_rows);
	if (!row) {
		remove_orphan(work, store_path(key.id, path));
		return 0;
	}
	if (!work->is_opening)
		return 0;
	if (fstatat(shard_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -1;
	if (S_ISREG(st.st_mode))
		row->found_bytes = st.st_size;
	return 0;
}

static int check_entry(void *arg, int snapshots_fd, const char *name)
{
	struct reconciliation *work = arg;

	if (store_is_shard(name)) {
		work->shard = name;
		return directory_list(snapshots_fd, name, check_file, work);
	}
	if (store_is_old_temporary(work->store, name))
		remove_orphan(work, name);
	return 0;
}

static int remove_orphans(struct reconciliation *work, struct err *err)
{
	struct store *store = work->store;

	if (directory_list(store->snapshots_fd, ".", check_entry, work) < 0)
		return err_errno(err, "store %s: reading snapshots", store->dir);
	if (work->n_orphaned)
		log_event(LOG_LEVEL_INFO, "files_removed", LOG_STR("store", store->dir),
			  LOG_INT("files", (int64_t)work->n_orphaned),
			  LOG_STR("reason", "they are not in the catalog"));
	return 0;
}

static int drop_row(struct store *store, const struct row *row, struct err *err)
{
	_cleanup_free_ char *term = NULL;
	bool is_current;
	char reason[96];

	if (catalog_find_owner(store->catalog, row->id, &term, &is_current, err) < 0 ||
	    catalog_delete(store->catalog, row->id, &store->deleted, err) < 0)
		return -1;
	if (row->found_bytes < 0)
		snprintf(reason, sizeof(reason), "its file is missing");
	else
		snprintf(reason, sizeof(reason),
			 "its file has %" PRId64 " bytes instead of %" PRIu64, row->found_bytes,
			 row->size_bytes);
	/* After a power cut, a superseded snapshot whose file was just deleted may have its row
	 * back. */
	log_event(is_current ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "snapshot_dropped",
		  LOG_STR("term", term), LOG_INT("snapshot", (int64_t)row->id),
		  LOG_STR("reason", reason));
	return 0;
}

static int drop_rows(struct reconciliation *work, struct err *err)
{
	struct store *store = work->store;
	struct catalog *catalog = store->catalog;

	if (catalog_begin(catalog, true, err) < 0)
		return -1;
	for (size_t i = 0; i < work->n_rows; i++) {
		const struct row *row = &work->rows[i];

		if (row->found_bytes != (int64_t)row->size_bytes && drop_row(store, row, err) < 0)
			return -1;
	}
	if (catalog_prune_all(catalog, &store->deleted, err) < 0)
		return -1;
	return catalog_commit(catalog, err);
}

/* Counts the rows that are left, and deletes the files of the deleted ones. */
static void count_rows(struct reconciliation *work)
{
	struct store *store = work->store;

	for (size_t i = 0; i < work->n_rows; i++) {
		store->n_snapshots++;
		store->n_bytes += work->rows[i].size_bytes;
	}
	struct catalog_files deleted = store_take_deleted(store);
	store_delete_files(store, &deleted);
}

int store_reconcile(struct store *store, struct err *err)
{
	_cleanup_(reconciliation_release) struct reconciliation work = {
		.store = store,
		.end_id = UINT64_MAX,
		.is_opening = true,
	};

	if (catalog_list(store->catalog, add_row, &work, err) < 0 || remove_orphans(&work, err) < 0)
		return -1;
	/* A catalog that is older than its files, from a backup, must not allocate their ids
	 * again. */
	catalog_skip_ids(store->catalog, work.last_id);
	if (drop_rows(&work, err) < 0) {
		catalog_rollback(store->catalog);
		store->deleted.n = 0;
		if (!catalog_found_disk_full(store->catalog))
			return -1;
		/* The snapshots can be served all the same. */
		log_event(LOG_LEVEL_WARNING, "sweep_failed", LOG_STR("store", store->dir),
			  LOG_STR("error", err->msg));
	}
	count_rows(&work);
	return 0;
}

struct list_job {
	struct job job;
	struct reconciliation *work;
};

static int run_list(struct store *store, struct job *job, struct err *err)
{
	struct list_job *list = container_of(job, struct list_job, job);

	return catalog_list(store->catalog, add_row, list->work, err);
}

int store_remove_orphans(struct store *store, struct err *err)
{
	_cleanup_(reconciliation_release) struct reconciliation work = {
		.store = store, .end_id = store->first_id
	};
	struct list_job list = {
		.job = { .kind = JOB_READS, .run = run_list },
		.work = &work,
	};

	if (store_run(store, &list.job, err) < 0)
		return -1;
	return remove_orphans(&work, err);
}
