/*
 * Bringing files and catalog together.
 *
 * When a store is opened for a fresh mount: files that the catalog does not know are what a crash
 * left between link and row, and go first, which also makes room on a full disk. Rows whose file is
 * missing, or has another length, are dropped, and so is what no term's history keeps. Nothing is
 * held by a kernel at this time.
 *
 * Who takes over a mount removes unknown files later, beside its own commits: only such as have an
 * id that was given before its time. Rows with such ids can go meanwhile, but none can come.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "store/store_internal.h"

struct row {
	uint64_t id;
	uint64_t size_bytes;
	int64_t found_bytes; /* -1: no such file */
};

struct sweep {
	struct store *store; /* borrowed */
	uint64_t end_id;     /* files from this one on are nothing to us */
	bool is_opening;     /* nobody else is at work: rows are compared with files */
	const char *shard;   /* that is being looked at */
	struct row *rows;    /* owned; in the order of ids */
	size_t n_rows;
	size_t capacity;
	uint64_t last_id;   /* the largest that a file has */
	uint64_t n_unknown; /* files */
};

static void sweep_release(struct sweep *sweep)
{
	free(sweep->rows);
}

static int add_row(void *arg, uint64_t id, uint64_t size_bytes, struct err *err)
{
	struct sweep *sweep = arg;

	if (sweep->n_rows == sweep->capacity) {
		size_t capacity = sweep->capacity ? 2 * sweep->capacity : 256;
		struct row *rows = reallocarray(sweep->rows, capacity, sizeof(*rows));

		if (!rows)
			return err_set(err, ERR_INTERNAL, "store %s: out of memory",
				       sweep->store->dir);
		sweep->rows = rows;
		sweep->capacity = capacity;
	}
	sweep->rows[sweep->n_rows++] = (struct row){ id, size_bytes, -1 };
	return 0;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	return (left->id > right->id) - (left->id < right->id);
}

static int sweep_file(void *arg, int shard_fd, const char *name)
{
	struct sweep *sweep = arg;
	struct row key = { .id = store_parse_id(sweep->shard, name) };
	struct row *row = NULL;
	struct stat st;

	if (key.id == 0 || key.id >= sweep->end_id)
		return 0;
	if (key.id > sweep->last_id)
		sweep->last_id = key.id;
	if (sweep->n_rows)
		row = bsearch(&key, sweep->rows, sweep->n_rows, sizeof(*row), compare_rows);
	if (!row) {
		if (unlinkat(shard_fd, name, 0) == 0)
			sweep->n_unknown++;
		return 0;
	}
	if (!sweep->is_opening)
		return 0;
	if (fstatat(shard_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -1;
	if (S_ISREG(st.st_mode))
		row->found_bytes = st.st_size;
	return 0;
}

static int sweep_entry(void *arg, int snapshots_fd, const char *name)
{
	struct sweep *sweep = arg;
	char own[STORE_TEMPORARY_SIZE];

	sweep->shard = name;
	if (store_is_shard(name))
		return store_list_names(snapshots_fd, name, sweep_file, sweep);
	store_temporary_prefix(sweep->store, own);
	if (strncmp(name, STORE_TEMPORARY, strlen(STORE_TEMPORARY)) == 0 &&
	    strncmp(name, own, strlen(own)) != 0 && unlinkat(snapshots_fd, name, 0) == 0)
		sweep->n_unknown++;
	return 0;
}

static int sweep_files(struct sweep *sweep, struct err *err)
{
	struct store *store = sweep->store;

	if (store_list_names(store->snapshots_fd, ".", sweep_entry, sweep) < 0)
		return err_errno(err, "store %s: reading snapshots", store->dir);
	if (sweep->n_unknown)
		log_event(LOG_LEVEL_INFO, "files_removed", LOG_STR("store", store->dir),
			  LOG_INT("files", (int64_t)sweep->n_unknown),
			  LOG_STR("reason", "the catalog does not know them"));
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
	/* A power cut may bring back the row of a superseded one whose file was just deleted. */
	log_event(is_current ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "snapshot_dropped",
		  LOG_STR("term", term), LOG_INT("snapshot", (int64_t)row->id),
		  LOG_STR("reason", reason));
	return 0;
}

static int sweep_rows(struct sweep *sweep, struct err *err)
{
	struct store *store = sweep->store;
	struct catalog *catalog = store->catalog;

	if (catalog_begin(catalog, true, err) < 0)
		return -1;
	for (size_t i = 0; i < sweep->n_rows; i++) {
		const struct row *row = &sweep->rows[i];

		if (row->found_bytes != (int64_t)row->size_bytes && drop_row(store, row, err) < 0)
			return -1;
	}
	if (catalog_prune_all(catalog, &store->deleted, err) < 0)
		return -1;
	return catalog_commit(catalog, err);
}

static void count_rows(struct sweep *sweep)
{
	struct store *store = sweep->store;

	for (size_t i = 0; i < sweep->n_rows; i++) {
		store->n_snapshots++;
		store->n_bytes += sweep->rows[i].size_bytes;
	}
	for (size_t i = 0; i < store->deleted.n; i++) {
		store->n_snapshots--;
		store->n_bytes -= store->deleted.items[i].size_bytes;
		store_unlink(store, store->deleted.items[i].id);
	}
	catalog_files_release(&store->deleted);
}

int store_sweep(struct store *store, struct err *err)
{
	_cleanup_(sweep_release) struct sweep sweep = {
		.store = store,
		.end_id = UINT64_MAX,
		.is_opening = true,
	};

	if (catalog_list(store->catalog, add_row, &sweep, err) < 0 || sweep_files(&sweep, err) < 0)
		return -1;
	/* A catalog that is older than its files (somebody's backup) must not give their ids. */
	catalog_skip_ids(store->catalog, sweep.last_id);
	if (sweep_rows(&sweep, err) < 0) {
		catalog_rollback(store->catalog);
		store->deleted.n = 0;
		if (!catalog_found_disk_full(store->catalog))
			return -1;
		/* What is there can be served all the same. */
		log_event(LOG_LEVEL_WARNING, "sweep_failed", LOG_STR("store", store->dir),
			  LOG_STR("error", err->msg));
	}
	count_rows(&sweep);
	return 0;
}

struct list_job {
	struct job job;
	struct sweep *sweep;
};

static int run_list(struct store *store, struct job *job, struct err *err)
{
	struct list_job *list = container_of(job, struct list_job, job);

	return catalog_list(store->catalog, add_row, list->sweep, err);
}

int store_tidy_up(struct store *store, struct err *err)
{
	_cleanup_(sweep_release) struct sweep sweep = { .store = store, .end_id = store->first_id };
	struct list_job list = {
		.job = { .kind = JOB_READS, .run = run_list },
		.sweep = &sweep,
	};

	if (store_run(store, &list.job, err) < 0)
		return -1;
	return sweep_files(&sweep, err);
}
