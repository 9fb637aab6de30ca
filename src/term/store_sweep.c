/*
 * Bringing files and catalog together when a store is opened.
 *
 * Files that the catalog does not know are what a crash left between link and row, and go first,
 * which also makes room on a full disk. Rows whose file is missing, or has another length, are
 * dropped, and so is what no term's history keeps. Nothing is held by a kernel at this time.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "term/store_internal.h"

/* Beyond any id that is ever given: a file with such a name is not ours. */
#define FOREIGN_ID (UINT64_C(1) << 62)

struct row {
	uint64_t id;
	uint64_t size_bytes;
	int64_t found_bytes; /* -1: no such file */
};

struct sweep {
	struct store *store; /* borrowed */
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

/* The id that a file XX/NAME belongs to, or 0. */
static uint64_t parse_id(const char *shard, const char *name)
{
	char path[STORE_PATH_SIZE];
	uint64_t id = strtoull(name, NULL, 10);

	store_path(id, path);
	if (id == 0 || id >= FOREIGN_ID || strncmp(path, shard, 2) != 0 ||
	    strcmp(path + 3, name) != 0)
		return 0;
	return id;
}

static void sweep_file(struct sweep *sweep, int shard_fd, const char *shard, const char *name)
{
	struct row key = { .id = parse_id(shard, name) };
	struct row *row = NULL;
	struct stat st;

	if (key.id == 0)
		return;
	if (key.id > sweep->last_id)
		sweep->last_id = key.id;
	if (sweep->n_rows)
		row = bsearch(&key, sweep->rows, sweep->n_rows, sizeof(*row), compare_rows);
	if (!row) {
		if (unlinkat(shard_fd, name, 0) == 0)
			sweep->n_unknown++;
	} else if (fstatat(shard_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
		row->found_bytes = st.st_size;
	}
}

static void closedir_cleanup(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static DIR *open_directory(int parent_fd, const char *name)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		close_cleanup(&fd);
	return dir;
}

static int sweep_shard(struct sweep *sweep, const char *shard, struct err *err)
{
	_cleanup_(closedir_cleanup) DIR *dir = open_directory(sweep->store->snapshots_fd, shard);
	struct dirent *entry;

	if (!dir)
		return err_errno(err, "store %s: reading snapshots/%s", sweep->store->dir, shard);
	while ((errno = 0, entry = readdir(dir)))
		sweep_file(sweep, dirfd(dir), shard, entry->d_name);
	if (errno)
		return err_errno(err, "store %s: reading snapshots/%s", sweep->store->dir, shard);
	return 0;
}

static int sweep_files(struct sweep *sweep, struct err *err)
{
	struct store *store = sweep->store;
	_cleanup_(closedir_cleanup) DIR *dir = open_directory(store->snapshots_fd, ".");
	struct dirent *entry;

	if (!dir)
		return err_errno(err, "store %s: reading snapshots", store->dir);
	while ((errno = 0, entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (strncmp(name, "new-", 4) == 0 && unlinkat(dirfd(dir), name, 0) == 0)
			sweep->n_unknown++;
		else if (strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2 &&
			 sweep_shard(sweep, name, err) < 0)
			return -1;
	}
	if (errno)
		return err_errno(err, "store %s: reading snapshots", store->dir);
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
	_cleanup_(sweep_release) struct sweep sweep = { .store = store };

	if (catalog_list(store->catalog, add_row, &sweep, err) < 0 || sweep_files(&sweep, err) < 0)
		return -1;
	if (sweep.n_unknown)
		log_event(LOG_LEVEL_INFO, "files_removed", LOG_STR("store", store->dir),
			  LOG_INT("files", (int64_t)sweep.n_unknown),
			  LOG_STR("reason", "the catalog does not know them"));
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
