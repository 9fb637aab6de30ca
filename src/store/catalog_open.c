/*
 * Opens the catalog, and checks that it is a catalog, is intact, and belongs to the mount.
 *
 * SQLite gets a path below /proc/self/fd. It then opens the catalog of this directory even if its
 * path has changed, or if it has none (a detached tmpfs). The connection keeps the database locked
 * from its first access to its end; the index of the log is then in ordinary memory, and no file of
 * the store is mapped.
 *
 * Damage (SQLITE_NOTADB, SQLITE_CORRUPT, a failed check, other tables) is ERR_BAD_DATA; everything
 * else (no permission, disk full, I/O error) is not. A killed process leaves no damage as long as
 * the machine is not rebooted, so taking over its mount does not check every page.
 *
 * The format is written to the first page of catalog.db at once, not only to the log, so that
 * catalog_peek() can read it from the first 100 bytes at any time.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/read_full.h"
#include "store/catalog_internal.h"
#include "store/catalog_vfs.h"

#define TEXT_SIZE	128
#define FIRST_ID	2 /* 1 is the mount's root */
#define BUSY_TIMEOUT_MS 2000

/* sqlite.org/fileformat2.html#the_database_header */
#define HEADER_SIZE	      100
#define HEADER_MAGIC	      "SQLite format 3"
#define HEADER_VERSION_AT     60
#define HEADER_APPLICATION_AT 68

static void read_boot_id(char ret[40])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id",
				      O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, 39);

	ret[n < 0 ? 0 : n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* Runs a statement with one result, a number or a text; 0 or empty if there is no row. */
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

static int too_new(const char *path, int64_t version, struct err *err)
{
	return err_set(err, ERR_CONFIG,
		       "catalog %s: written by a newer rptfs (format %" PRId64
		       ", this one supports %d)",
		       path, version, CATALOG_SCHEMA_VERSION);
}

static int make_format(struct catalog *catalog, const char *sql, struct err *err)
{
	if (catalog_exec(catalog, sql, err) < 0)
		return -1;
	return catalog_exec(catalog, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

/* Makes an empty database a catalog, converts one of an older format, and refuses any other
 * database. */
static int check_format(struct catalog *catalog, struct err *err)
{
	int64_t application, version, n_objects;

	if (ask(catalog, "PRAGMA application_id", &application, NULL, err) < 0 ||
	    ask(catalog, "PRAGMA user_version", &version, NULL, err) < 0 ||
	    ask(catalog, "SELECT count(*) FROM sqlite_schema", &n_objects, NULL, err) < 0)
		return -1;
	if (application == 0 && version == 0 && n_objects == 0)
		return make_format(catalog, catalog_schema, err);
	if (application != CATALOG_APPLICATION_ID)
		return damaged(catalog, "a database of another program", err);
	if (version > CATALOG_SCHEMA_VERSION)
		return too_new(catalog->path, version, err);
	if (version < 1)
		return damaged(catalog, "unknown format", err);
	for (; version < CATALOG_SCHEMA_VERSION; version++) {
		if (make_format(catalog, catalog_migration[version], err) < 0)
			return -1;
		log_event(LOG_LEVEL_INFO, "catalog_migrated", LOG_STR("catalog", catalog->path),
			  LOG_INT("format", version + 1));
	}
	return 0;
}

static int check_pages(struct catalog *catalog, struct err *err)
{
	char verdict[TEXT_SIZE];

	catalog_vfs_errno = 0;
	if (ask(catalog, "PRAGMA quick_check(1)", NULL, verdict, err) < 0)
		return -1;
	if (strcmp(verdict, "ok") == 0)
		return 0;
	/* A page that cannot be read is not a damaged page. */
	if (!catalog_vfs_errno)
		return damaged(catalog, verdict, err);
	catalog->last_rc = SQLITE_IOERR;
	errno = catalog_vfs_errno;
	return err_errno(err, "catalog %s: %s", catalog->path, verdict);
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
	int64_t n_rows, next_id, life, mount, max_snapshot, max_directory;
	char boot_id[TEXT_SIZE];

	if (ask(catalog, "SELECT count(*) FROM store", &n_rows, NULL, err) < 0 ||
	    ask(catalog, "SELECT next_id FROM store", &next_id, NULL, err) < 0 ||
	    ask(catalog, "SELECT life FROM store", &life, NULL, err) < 0 ||
	    ask(catalog, "SELECT mount FROM store", &mount, NULL, err) < 0 ||
	    ask(catalog, "SELECT boot FROM store", &catalog->boot, NULL, err) < 0 ||
	    ask(catalog, "SELECT boot_id FROM store", NULL, boot_id, err) < 0 ||
	    ask(catalog, "SELECT max(id) FROM snapshot", &max_snapshot, NULL, err) < 0 ||
	    ask(catalog, "SELECT max(id) FROM directory", &max_directory, NULL, err) < 0)
		return -1;
	if (n_rows != 1 || next_id < FIRST_ID || mount <= 0 || max_snapshot >= next_id ||
	    max_directory >= next_id)
		return damaged(catalog, "its counters contradict its rows", err);
	catalog->next_id = catalog->reserved_id = (uint64_t)next_id;
	catalog->life = ((uint32_t)life + 1) & INT32_MAX;
	catalog->mount = (uint64_t)mount + 1;
	read_boot_id(catalog->boot_id);
	if (!catalog->boot_id[0] || strcmp(boot_id, catalog->boot_id) != 0)
		catalog->boot++;
	return 0;
}

/* The last mount may not have been recorded, on a full disk for example. */
static int take_over(struct catalog *catalog, uint64_t mount, struct err *err)
{
	if (mount != catalog->mount && mount != catalog->mount - 1)
		return damaged(catalog, "it has no record of the mount", err);
	catalog->mount = mount;
	return 0;
}

static int connect_to(struct catalog *catalog, int dir_fd, struct err *err)
{
	char uri[64];

	snprintf(uri, sizeof(uri), "/proc/self/fd/%d/catalog.db", dir_fd);
	if (sqlite3_open_v2(uri, &catalog->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
			    catalog_vfs()) != SQLITE_OK)
		return catalog_fail(catalog, "open", err);
	sqlite3_extended_result_codes(catalog->db, 1);
	sqlite3_busy_timeout(catalog->db, BUSY_TIMEOUT_MS);
	/* The exclusive mode must come first, so that the log's index is not mapped. The file is
	 * untrusted input: no functions from its schema, and its cells are checked. */
	return catalog_exec(catalog,
			    "PRAGMA locking_mode = EXCLUSIVE;"
			    "PRAGMA journal_mode = WAL;"
			    "PRAGMA trusted_schema = OFF;"
			    "PRAGMA cell_size_check = ON;"
			    "PRAGMA temp_store = MEMORY;"
			    "PRAGMA cache_size = -2048;",
			    err);
}

static int open_database(struct catalog *catalog, const struct catalog_setup *setup,
			 struct err *err)
{
	if (connect_to(catalog, setup->dir_fd, err) < 0 ||
	    catalog_exec(catalog,
			 catalog->in_memory ? "PRAGMA synchronous = OFF"
					    : "PRAGMA synchronous = FULL",
			 err) < 0)
		return -1;
	catalog->is_durable = true;
	if (check_format(catalog, err) < 0 || (!setup->mount && check_pages(catalog, err) < 0) ||
	    prepare_queries(catalog, err) < 0 || read_counters(catalog, err) < 0)
		return -1;
	return setup->mount ? take_over(catalog, setup->mount, err) : 0;
}

static void disconnect(struct catalog *catalog)
{
	for (size_t i = 0; i < QUERY_COUNT; i++)
		sqlite3_finalize(steal_ptr(&catalog->queries[i]));
	sqlite3_close(steal_ptr(&catalog->db));
}

/* What the first page says. */
struct header {
	char path[PATH_MAX]; /* for messages */
	size_t len;	     /* of the file, up to HEADER_SIZE; 0: it is empty or missing */
	bool is_database;
	uint32_t application, version;
};

static uint32_t big_endian(const char *bytes)
{
	uint32_t number;

	memcpy(&number, bytes, sizeof(number));
	return be32toh(number);
}

/* Reads only bytes that do not change while the owner writes. */
static int read_header(int dir_fd, const char *dir, struct header *ret, struct err *err)
{
	char head[HEADER_SIZE] = { 0 };
	_cleanup_close_ int fd = openat(dir_fd, "catalog.db",
					O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool is_missing = fd < 0 && errno == ENOENT;

	snprintf(ret->path, sizeof(ret->path), "%s/catalog.db", dir);
	ssize_t len = fd < 0 ? -1 : read_full(fd, head, sizeof(head));
	if (len < 0 && !is_missing)
		return err_errno(err, "catalog %s", ret->path);
	ret->len = is_missing ? 0 : (size_t)len;
	ret->is_database = len == sizeof(head) &&
			   memcmp(head, HEADER_MAGIC, sizeof(HEADER_MAGIC)) == 0;
	ret->application = big_endian(head + HEADER_APPLICATION_AT);
	ret->version = big_endian(head + HEADER_VERSION_AT);
	return 0;
}

int catalog_find(int dir_fd, const char *dir, bool *ret, struct err *err)
{
	struct header header;

	if (read_header(dir_fd, dir, &header, err) < 0)
		return -1;
	*ret = header.is_database && header.application == CATALOG_APPLICATION_ID;
	return 0;
}

int catalog_peek(int dir_fd, const char *dir, struct err *err)
{
	struct header header;

	if (read_header(dir_fd, dir, &header, err) < 0)
		return -1;
	if (header.len == 0)
		return 0;
	if (!header.is_database)
		return err_set(err, ERR_BAD_DATA, "catalog %s: not a database", header.path);
	if (header.application == 0 && header.version == 0)
		return 0; /* it is just being made */
	if (header.application != CATALOG_APPLICATION_ID)
		return err_set(err, ERR_BAD_DATA, "catalog %s: a database of another program",
			       header.path);
	if (header.version > CATALOG_SCHEMA_VERSION)
		return too_new(header.path, header.version, err);
	return 0;
}

/* A catalog that is taken over must exist. */
static int make_file(struct catalog *catalog, const struct catalog_setup *setup, struct err *err)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (setup->mount ? 0 : O_CREAT);
	_cleanup_close_ int fd = openat(setup->dir_fd, "catalog.db", flags, 0600);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return damaged(catalog, "it is missing", err);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "catalog %s", catalog->path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INTERNAL, "catalog %s: not a regular file", catalog->path);
	return 0;
}

int catalog_open(struct catalog **ret, const struct catalog_setup *setup, struct err *err)
{
	_cleanup_(catalog_close_cleanup) struct catalog *catalog = calloc(1, sizeof(*catalog));

	if (!catalog || asprintf(&catalog->path, "%s/catalog.db", setup->dir) < 0)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", setup->dir);
	catalog->in_memory = setup->in_memory;
	if (make_file(catalog, setup, err) < 0 || open_database(catalog, setup, err) < 0) {
		if (err->kind == ERR_INTERNAL && catalog_found_damage(catalog))
			err->kind = ERR_BAD_DATA;
		/* Closing must not change a catalog that may have to be inspected. */
		if (catalog->db)
			sqlite3_db_config(catalog->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		disconnect(catalog);
		return -1;
	}
	*ret = steal_ptr(&catalog);
	return 0;
}

void catalog_close(struct catalog *catalog)
{
	struct err err = ERR_INIT;

	if (!catalog)
		return;
	/* Returns ids that were reserved but not used. */
	if (catalog->queries[QUERY_RECORD] && catalog->next_id < catalog->reserved_id) {
		catalog->reserved_id = catalog->next_id;
		catalog->is_noted = false;
		if (catalog_begin(catalog, false, &err) < 0 || catalog_commit(catalog, &err) < 0) {
			/* Harmless: the next opening continues after the gap. */
			catalog_rollback(catalog);
		}
	}
	disconnect(catalog);
	free(catalog->path);
	free(catalog);
}
