/*
 * Opening the catalog: is it one, is it whole, is it ours?
 *
 * SQLite is given a path below /proc/self/fd, so that directory and catalog cannot come apart, and
 * a store whose directory has no name at all (a detached tmpfs) is opened in the same way. The
 * connection keeps the database locked from its first access to its end; the index of the log is
 * then in ordinary memory, and no file of the store is ever mapped.
 *
 * Damage (SQLITE_NOTADB, SQLITE_CORRUPT, a failed check, tables that are not ours) means that the
 * catalog is set aside. Everything else (no permission, disk full, I/O error) is an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "term/catalog_internal.h"

#define TEXT_SIZE	128
#define FIRST_ID	2 /* 1 is the mount's root */
#define BUSY_TIMEOUT_MS 2000

/* The unix VFS would resolve the magic link in /proc/self/fd to a name, which a detached tmpfs
 * does not have. */
static int keep_pathname(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
	(void)vfs;
	return snprintf(ret, (size_t)size, "%s", name) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static void register_vfs(void)
{
	static sqlite3_vfs vfs;

	vfs = *sqlite3_vfs_find("unix");
	vfs.zName = "rptfs";
	vfs.pNext = NULL;
	vfs.xFullPathname = keep_pathname;
	sqlite3_vfs_register(&vfs, 0);
}

static bool is_damage(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static void read_boot_id(char ret[40])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id",
				      O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, 39);

	ret[n < 0 ? 0 : n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* One number or text, e.g. of a pragma; *ret is 0 or empty if there is no row. */
static int ask(struct catalog *catalog, const char *sql, int64_t *ret_number,
	       char ret_text[TEXT_SIZE], struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(catalog->db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
		catalog_fail(catalog, sql, err);
		sqlite3_finalize(stmt);
		return -1;
	}
	if (ret_number)
		*ret_number = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
	if (ret_text) {
		const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0)
						    : NULL;
		snprintf(ret_text, TEXT_SIZE, "%s", text ? text : "");
	}
	sqlite3_finalize(stmt);
	return 0;
}

static int damaged(struct catalog *catalog, const char *why, struct err *err)
{
	catalog->last_rc = SQLITE_CORRUPT;
	return err_set(err, ERR_INTERNAL, "catalog %s: %s", catalog->path, why);
}

/* An empty database becomes a catalog; of another one, makes sure that it is a catalog. */
static int check_format(struct catalog *catalog, struct err *err)
{
	int64_t application, version, n_objects;

	if (ask(catalog, "PRAGMA application_id", &application, NULL, err) < 0 ||
	    ask(catalog, "PRAGMA user_version", &version, NULL, err) < 0 ||
	    ask(catalog, "SELECT count(*) FROM sqlite_schema", &n_objects, NULL, err) < 0)
		return -1;
	if (application == 0 && version == 0 && n_objects == 0)
		return catalog_exec(catalog, catalog_schema, err);
	if (application != CATALOG_APPLICATION_ID)
		return damaged(catalog, "the database of some other program", err);
	if (version > CATALOG_SCHEMA_VERSION)
		return err_set(err, ERR_CONFIG,
			       "catalog %s: written by a newer rptfs (format %" PRId64
			       ", this one knows %d)",
			       catalog->path, version, CATALOG_SCHEMA_VERSION);
	if (version < CATALOG_SCHEMA_VERSION)
		return damaged(catalog, "unknown format", err);
	return 0;
}

static int check_pages(struct catalog *catalog, struct err *err)
{
	char verdict[TEXT_SIZE];

	if (ask(catalog, "PRAGMA quick_check(1)", NULL, verdict, err) < 0)
		return -1;
	return strcmp(verdict, "ok") == 0 ? 0 : damaged(catalog, verdict, err);
}

static int prepare_queries(struct catalog *catalog, struct err *err)
{
	for (size_t i = 0; i < QUERY_COUNT; i++) {
		int rc = sqlite3_prepare_v3(catalog->db, catalog_sql[i], -1,
					    SQLITE_PREPARE_PERSISTENT, &catalog->queries[i], NULL);
		if (rc == SQLITE_ERROR)
			return damaged(catalog, sqlite3_errmsg(catalog->db), err);
		if (rc != SQLITE_OK)
			return catalog_fail(catalog, "prepare", err);
	}
	return 0;
}

static int read_counters(struct catalog *catalog, struct err *err)
{
	int64_t n_rows, next_id, life, max_snapshot, max_directory;
	char boot_id[TEXT_SIZE];

	if (ask(catalog, "SELECT count(*) FROM store", &n_rows, NULL, err) < 0 ||
	    ask(catalog, "SELECT next_id FROM store", &next_id, NULL, err) < 0 ||
	    ask(catalog, "SELECT life FROM store", &life, NULL, err) < 0 ||
	    ask(catalog, "SELECT boot FROM store", &catalog->boot, NULL, err) < 0 ||
	    ask(catalog, "SELECT boot_id FROM store", NULL, boot_id, err) < 0 ||
	    ask(catalog, "SELECT max(id) FROM snapshot", &max_snapshot, NULL, err) < 0 ||
	    ask(catalog, "SELECT max(id) FROM directory", &max_directory, NULL, err) < 0)
		return -1;
	if (n_rows != 1 || next_id < FIRST_ID || max_snapshot >= next_id ||
	    max_directory >= next_id)
		return damaged(catalog, "its counters contradict its rows", err);
	catalog->next_id = catalog->reserved_id = (uint64_t)next_id;
	catalog->life = (uint32_t)life + 1;
	read_boot_id(catalog->boot_id);
	if (!catalog->boot_id[0] || strcmp(boot_id, catalog->boot_id) != 0)
		catalog->boot++;
	return 0;
}

static int connect_to(struct catalog *catalog, int dir_fd, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char uri[64];

	pthread_once(&once, register_vfs);
	snprintf(uri, sizeof(uri), "/proc/self/fd/%d/catalog.db", dir_fd);
	if (sqlite3_open_v2(uri, &catalog->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
			    "rptfs") != SQLITE_OK)
		return catalog_fail(catalog, "open", err);
	sqlite3_extended_result_codes(catalog->db, 1);
	sqlite3_busy_timeout(catalog->db, BUSY_TIMEOUT_MS);
	/* Exclusive before anything touches the file, so that the log's index is not mapped. The
	 * file is input like any other: no functions from its schema, no trust in its cells. */
	return catalog_exec(catalog,
			    "PRAGMA locking_mode = EXCLUSIVE;"
			    "PRAGMA journal_mode = WAL;"
			    "PRAGMA trusted_schema = OFF;"
			    "PRAGMA cell_size_check = ON;"
			    "PRAGMA temp_store = MEMORY;"
			    "PRAGMA cache_size = -2048;",
			    err);
}

static int open_once(struct catalog *catalog, int dir_fd, struct err *err)
{
	if (connect_to(catalog, dir_fd, err) < 0 ||
	    catalog_exec(catalog,
			 catalog->in_memory ? "PRAGMA synchronous = OFF"
					    : "PRAGMA synchronous = FULL",
			 err) < 0)
		return -1;
	catalog->is_durable = true;
	if (check_format(catalog, err) < 0 || check_pages(catalog, err) < 0 ||
	    prepare_queries(catalog, err) < 0)
		return -1;
	return read_counters(catalog, err);
}

static void disconnect(struct catalog *catalog)
{
	for (size_t i = 0; i < QUERY_COUNT; i++)
		sqlite3_finalize(steal_ptr(&catalog->queries[i]));
	sqlite3_close(steal_ptr(&catalog->db));
}

/* Leaves the catalog where a person can look at it, with the log that belongs to it. */
static int set_aside(struct catalog *catalog, int dir_fd, const struct err *reason, struct err *err)
{
	static const char *const suffixes[] = { "-wal", "-shm", "" };
	char now[CLOCK_RFC3339_SIZE], from[32], to[96];

	clock_rfc3339(clock_wall_ms(), now);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		snprintf(from, sizeof(from), "catalog.db%s", suffixes[i]);
		snprintf(to, sizeof(to), "catalog.db.corrupt-%s%s", now, suffixes[i]);
		if (renameat(dir_fd, from, dir_fd, to) < 0 && errno != ENOENT)
			return err_errno(err, "catalog %s: setting it aside", catalog->path);
	}
	log_event(LOG_LEVEL_ERROR, "catalog_set_aside", LOG_STR("catalog", catalog->path),
		  LOG_STR("as", to), LOG_STR("reason", reason->msg));
	return 0;
}

static int make_file(struct catalog *catalog, int dir_fd, struct err *err)
{
	_cleanup_close_ int fd = openat(
		dir_fd, "catalog.db", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "catalog %s", catalog->path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INTERNAL, "catalog %s: not a regular file", catalog->path);
	return 0;
}

int catalog_open(struct catalog **ret, int dir_fd, const char *dir, bool in_memory, struct err *err)
{
	_cleanup_(catalog_close_cleanup) struct catalog *catalog = calloc(1, sizeof(*catalog));

	if (!catalog || asprintf(&catalog->path, "%s/catalog.db", dir) < 0)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", dir);
	catalog->in_memory = in_memory;
	if (make_file(catalog, dir_fd, err) < 0)
		return -1;
	if (open_once(catalog, dir_fd, err) < 0) {
		struct err reason = *err;

		if (reason.kind == ERR_CONFIG || !is_damage(catalog->last_rc))
			return -1;
		/* Closing must not mend what a person may want to look at. */
		sqlite3_db_config(catalog->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		disconnect(catalog);
		if (set_aside(catalog, dir_fd, &reason, err) < 0 ||
		    make_file(catalog, dir_fd, err) < 0 || open_once(catalog, dir_fd, err) < 0)
			return -1;
		/* The lost catalog may have given ids of which no file is left. */
		catalog_skip_ids(catalog, catalog->next_id);
	}
	*ret = steal_ptr(&catalog);
	return 0;
}

void catalog_close(struct catalog *catalog)
{
	struct err err = ERR_INIT;

	if (!catalog)
		return;
	/* Ids that were reserved and not given are given back. */
	if (catalog->queries[QUERY_RECORD] && catalog->next_id < catalog->reserved_id) {
		catalog->reserved_id = catalog->next_id;
		catalog->life_recorded = false;
		if (catalog_begin(catalog, false, &err) < 0 || catalog_commit(catalog, &err) < 0) {
			/* Nothing depends on it: the next opening goes on behind the gap. */
			catalog_rollback(catalog);
		}
	}
	disconnect(catalog);
	free(catalog->path);
	free(catalog);
}
