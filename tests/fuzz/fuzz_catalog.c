/*
 * The catalog of a store, as it is opened. The input changes values of a good one, whatever its
 * constraints say, and then bytes of its file.
 */
#include <fcntl.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/log.h"
#include "fuzz.h"
#include "store/catalog.h"

static char directory[PATH_MAX], path[PATH_MAX + 16];
static int dir_fd;
static uint8_t *good; /* the file of a good catalog */
static size_t good_size;
static uint64_t good_mount;

/* What the input can change. */
static const char *const columns[][2] = {
	{ "store", "next_id" },
	{ "store", "life" },
	{ "store", "boot" },
	{ "store", "boot_id" },
	{ "store", "mount" },
	{ "term", "name" },
	{ "term", "current" },
	{ "term", "history" },
	{ "term", "published_at_ms" },
	{ "term", "missed_since_ms" },
	{ "term", "missed_in" },
	{ "term", "confirmed_at_ms" },
	{ "term", "dropped_s" },
	{ "term", "dropped_ns" },
	{ "snapshot", "id" },
	{ "snapshot", "term" },
	{ "snapshot", "size_bytes" },
	{ "snapshot", "mtime_s" },
	{ "snapshot", "mtime_ns" },
	{ "snapshot", "mtime_bump_s" },
	{ "snapshot", "published_at_ms" },
	{ "snapshot", "sha256" },
	{ "snapshot", "version" },
	{ "snapshot", "source" },
	{ "snapshot", "token" },
	{ "snapshot", "fingerprint" },
	{ "snapshot", "verified_in" },
	{ "snapshot", "held_in" },
	{ "refused", "term" },
	{ "refused", "token" },
	{ "refused", "reason" },
	{ "directory", "path" },
	{ "directory", "id" },
};

static int insert(struct catalog *catalog, const char *term, unsigned version, struct err *err)
{
	struct catalog_files deleted = { .n = 0 };
	struct snapshot *snapshot = snapshot_new("v", "test://source");
	int result = -1;

	fuzz_check(snapshot);
	snapshot->size_bytes = version;
	snapshot->mtime = clock_from_ms(1000000 + version);
	snapshot->fetched_at_ms = snapshot->order_key = version;
	if (catalog_take_id(catalog, &snapshot->id, err) == 0 &&
	    catalog_begin(catalog, false, err) == 0)
		result = catalog_insert(catalog, term, snapshot, "\"t\"", version, 2, true,
					&deleted, err);
	if (result == 0)
		result = catalog_commit(catalog, err);
	if (result < 0)
		catalog_rollback(catalog);
	catalog_files_release(&deleted);
	snapshot_unref(snapshot);
	return result;
}

static int fill(struct catalog *catalog, struct err *err)
{
	for (unsigned i = 0; i < 4; i++) {
		if (insert(catalog, i % 2 ? "geo/b" : "a", i, err) < 0)
			return -1;
	}
	if (catalog_begin(catalog, false, err) < 0 ||
	    catalog_refuse(catalog, "a", 5, "\"bad\"", "too large", err) < 0 ||
	    catalog_insert_directory(catalog, "geo", catalog_next_id(catalog) - 1, err) < 0)
		return -1;
	return catalog_commit(catalog, err);
}

static void read_good(void)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	fuzz_check(fd >= 0);
	good_size = (size_t)lseek(fd, 0, SEEK_END);
	good = malloc(good_size);
	fuzz_check(good && pread(fd, good, good_size, 0) == (ssize_t)good_size);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct catalog *catalog = NULL;
	struct err err = ERR_INIT;

	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	fuzz_directory(directory);
	snprintf(path, sizeof(path), "%s/catalog.db", directory);
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct catalog_setup setup = { .dir_fd = dir_fd, .dir = directory };
	fuzz_check(catalog_open(&catalog, &setup, &err) == 0 && fill(catalog, &err) == 0);
	good_mount = catalog_mount(catalog);
	catalog_close(catalog);
	read_good();
	return 0;
}

static void bind_value(struct fuzz_input *input, sqlite3_stmt *statement)
{
	uint64_t number = 0;

	switch (fuzz_below(input, 5)) {
	case 0:
		sqlite3_bind_null(statement, 1);
		break;
	case 1:
		for (int i = 0; i < 4; i++)
			number = number << 16 | fuzz_below(input, 65536);
		sqlite3_bind_int64(statement, 1, (int64_t)number);
		break;
	case 2:
		sqlite3_bind_int64(statement, 1, (int64_t)fuzz_below(input, 8) - 2);
		break;
	default: {
		_cleanup_free_ char *text = fuzz_line(input);
		sqlite3_bind_text(statement, 1, text ? text : "", -1, SQLITE_TRANSIENT);
	}
	}
}

/* Changes one column of one row, or of all, without its checks. */
static void change_value(struct fuzz_input *input, sqlite3 *db)
{
	const char *const *column = columns[fuzz_below(input, ARRAY_SIZE(columns))];
	unsigned row = fuzz_below(input, 5);
	sqlite3_stmt *statement = NULL;
	char sql[256];

	snprintf(sql, sizeof(sql), "UPDATE OR REPLACE %s SET %s = ?1%s", column[0], column[1],
		 row && strcmp(column[0], "snapshot") == 0 ? " WHERE id = ?2" : "");
	fuzz_check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
	bind_value(input, statement);
	sqlite3_bind_int(statement, 2, (int)row + 1);
	sqlite3_step(statement);
	sqlite3_finalize(statement);
}

/* A catalog that is damaged keeps its log, which would be part of the next one. */
static void remove_log(void)
{
	unlinkat(dir_fd, "catalog.db-wal", 0);
	unlinkat(dir_fd, "catalog.db-journal", 0);
}

/* Makes the file: the good one with changed values and bytes. */
static void make_file(struct fuzz_input *input)
{
	sqlite3 *db = NULL;
	sqlite3_int64 size = 0;
	unsigned n_values = fuzz_below(input, 4);
	uint8_t *copy = sqlite3_malloc64(good_size);

	fuzz_check(copy && sqlite3_open(":memory:", &db) == SQLITE_OK);
	memcpy(copy, good, good_size);
	copy[18] = copy[19] = 1; /* a database in memory has no log */
	fuzz_check(sqlite3_deserialize(db, "main", copy, (sqlite3_int64)good_size,
				       (sqlite3_int64)good_size,
				       SQLITE_DESERIALIZE_FREEONCLOSE |
					       SQLITE_DESERIALIZE_RESIZEABLE) == SQLITE_OK);
	sqlite3_exec(db, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL);
	for (unsigned i = 0; i < n_values; i++)
		change_value(input, db);
	uint8_t *changed = sqlite3_serialize(db, "main", &size, 0);
	fuzz_check(changed);
	changed[18] = changed[19] = good[18];
	fuzz_edit(input, changed, (size_t)size);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fuzz_check(fd >= 0 && write(fd, changed, (size_t)size) == size);
	sqlite3_free(changed);
	sqlite3_close(db);
}

/* ---- reading ---- */

struct seen {
	bool is_checked; /* each page of the catalog was checked when it was opened */
	uint64_t next_id;
};

static void check_snapshot(const struct seen *seen, const struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	fuzz_check(snapshot->version && snapshot->source);
	if (seen->is_checked)
		fuzz_check(snapshot->id > 1 && snapshot->id < seen->next_id);
	clock_to_ms(snapshot->mtime);
}

static int see_term(void *arg, const char *name, struct store_term *term, struct err *err)
{
	struct seen *seen = arg;

	(void)err;
	fuzz_check(name && term->slot < STORE_SLOTS);
	check_snapshot(seen, term->snapshot);
	store_term_release(term);
	return 0;
}

static int see_held(void *arg, const char *term, struct snapshot *snapshot, struct err *err)
{
	(void)err;
	fuzz_check(term);
	check_snapshot(arg, snapshot);
	snapshot_unref(snapshot);
	return 0;
}

static int see_refused(void *arg, const struct store_refusal *refusal, struct err *err)
{
	(void)arg, (void)err;
	fuzz_check(refusal->term && refusal->token && refusal->reason);
	return 0;
}

static int see_row(void *arg, uint64_t id, uint64_t size_bytes, struct err *err)
{
	const struct seen *seen = arg;

	(void)err;
	if (seen->is_checked)
		fuzz_check(id > 1 && id < seen->next_id && size_bytes <= INT64_MAX);
	return 0;
}

static int read_all(struct catalog *catalog, struct seen *seen, struct err *err)
{
	uint64_t n = 0, n_bytes = 0, id = 0;
	_cleanup_free_ char *owner = NULL;
	bool is_current = false;

	if (catalog_list(catalog, see_row, seen, err) < 0 ||
	    catalog_count(catalog, &n, &n_bytes, err) < 0 ||
	    catalog_load_all(catalog, see_term, seen, err) < 0 ||
	    catalog_list_held(catalog, see_held, seen, err) < 0 ||
	    catalog_list_refused(catalog, see_refused, NULL, err) < 0 ||
	    catalog_find_owner(catalog, 3, &owner, &is_current, err) < 0)
		return -1;
	return catalog_find_directory(catalog, "geo", &id, err);
}

static int prune(struct catalog *catalog, struct err *err)
{
	struct catalog_files deleted = { .n = 0 };
	int result = catalog_begin(catalog, false, err);

	if (result == 0)
		result = catalog_prune_all(catalog, &deleted, err);
	if (result == 0)
		result = catalog_commit(catalog, err);
	if (result < 0)
		catalog_rollback(catalog);
	catalog_files_release(&deleted);
	return result;
}

/* Opens, reads and writes. mount: 0, or the one that is taken over. */
static void use(uint64_t mount)
{
	const struct catalog_setup setup = {
		.dir_fd = dir_fd, .dir = directory, .in_memory = true, .mount = mount
	};
	_cleanup_(catalog_close_cleanup) struct catalog *catalog = NULL;
	struct err err = ERR_INIT;

	if (catalog_peek(dir_fd, directory, &err) < 0)
		fuzz_check_error(&err, err.kind);
	if (catalog_open(&catalog, &setup, &err) < 0) {
		fuzz_check_error(&err, err.kind);
		return;
	}
	struct seen seen = { .is_checked = !mount, .next_id = catalog_next_id(catalog) };
	if (read_all(catalog, &seen, &err) < 0 || insert(catalog, "a", 9, &err) < 0 ||
	    prune(catalog, &err) < 0 || read_all(catalog, &(struct seen){ 0 }, &err) < 0)
		fuzz_check_error(&err, ERR_INTERNAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	uint64_t mount = fuzz_below(&input, 2) ? good_mount : 0;

	remove_log();
	make_file(&input);
	use(mount);
	return 0;
}
