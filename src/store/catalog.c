/*
 * Transactions, ids, runs of statements, and errors.
 */
#include "store/catalog.h"

#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "store/catalog_internal.h"
#include "store/catalog_vfs.h"

#define IDS_AT_ONCE  1024
#define LIFE_UNNOTED (UINT32_C(1) << 30)

int catalog_files_add(struct catalog_files *files, uint64_t id, uint64_t size_bytes,
		      struct err *err)
{
	if (files->n == files->capacity) {
		size_t capacity = files->capacity ? 2 * files->capacity : 16;
		struct catalog_file *items = reallocarray(files->items, capacity, sizeof(*items));

		if (!items)
			return err_set(err, ERR_INTERNAL, "catalog: out of memory");
		files->items = items;
		files->capacity = capacity;
	}
	files->items[files->n++] = (struct catalog_file){ id, size_bytes };
	return 0;
}

void catalog_files_release(struct catalog_files *files)
{
	free(files->items);
	*files = (struct catalog_files){ .n = 0 };
}

int catalog_fail(struct catalog *catalog, const char *action, struct err *err)
{
	int rc = catalog->db ? sqlite3_extended_errcode(catalog->db) : SQLITE_NOMEM;
	const char *reason = catalog->db ? sqlite3_errmsg(catalog->db) : sqlite3_errstr(rc);

	catalog->last_rc = rc;
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return err_set(err, ERR_INTERNAL, "catalog %s: No space left on device",
			       catalog->path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_set(err, ERR_INTERNAL,
			       "catalog %s is damaged: %s (a restart replaces it)", catalog->path,
			       reason);
	case SQLITE_CANTOPEN:
	case SQLITE_IOERR:
	case SQLITE_READONLY:
		errno = catalog_vfs_errno;
		if (errno)
			return err_errno(err, "catalog %s: %s", catalog->path, reason);
	}
	return err_set(err, ERR_INTERNAL, "catalog %s: %.40s: %s", catalog->path, action, reason);
}

int catalog_exec(struct catalog *catalog, const char *sql, struct err *err)
{
	if (sqlite3_exec(catalog->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return catalog_fail(catalog, sql, err);
	return 0;
}

struct run run_start(struct catalog *catalog, enum query query)
{
	return (struct run){ .catalog = catalog, .stmt = catalog->queries[query] };
}

void run_end(struct run *run)
{
	sqlite3_reset(run->stmt);
	sqlite3_clear_bindings(run->stmt);
}

static void note_rc(struct run *run, int rc)
{
	if (run->rc == SQLITE_OK)
		run->rc = rc;
}

void run_int(struct run *run, int64_t value)
{
	note_rc(run, sqlite3_bind_int64(run->stmt, ++run->n_bound, value));
}

void run_text(struct run *run, const char *text)
{
	note_rc(run, sqlite3_bind_text(run->stmt, ++run->n_bound, text, -1, SQLITE_STATIC));
}

void run_blob(struct run *run, const void *data, size_t len)
{
	note_rc(run, sqlite3_bind_blob64(run->stmt, ++run->n_bound, data, len, SQLITE_STATIC));
}

int run_step(struct run *run, struct err *err)
{
	if (run->rc == SQLITE_OK) {
		int rc = sqlite3_step(run->stmt);

		if (rc == SQLITE_ROW)
			return 1;
		if (rc == SQLITE_DONE)
			return 0;
	}
	return catalog_fail(run->catalog, sqlite3_sql(run->stmt), err);
}

int run_all(struct run *run, struct err *err)
{
	int more;

	do
		more = run_step(run, err);
	while (more > 0);
	return more;
}

bool catalog_is_new(const struct catalog *catalog)
{
	return catalog->life == 1;
}

uint32_t catalog_life(const struct catalog *catalog)
{
	return catalog->life;
}

uint64_t catalog_mount(const struct catalog *catalog)
{
	return catalog->mount;
}

bool catalog_found_disk_full(const struct catalog *catalog)
{
	return (catalog->last_rc & 0xff) == SQLITE_FULL;
}

bool catalog_is_in_doubt(const struct catalog *catalog)
{
	return catalog->is_in_doubt;
}

bool catalog_has_written(const struct catalog *catalog)
{
	return catalog->has_written;
}

bool catalog_found_damage(const struct catalog *catalog)
{
	int rc = catalog->last_rc & 0xff;

	return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
}

/* Records the life, mount, boot and reserved ids of this opening. */
static int record(struct catalog *catalog, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_RECORD);

	run_int(&run, (int64_t)catalog->reserved_id);
	run_int(&run, catalog->life);
	run_int(&run, catalog->boot);
	run_text(&run, catalog->boot_id);
	run_int(&run, (int64_t)catalog->mount);
	catalog->recording = true;
	return run_all(&run, err);
}

int catalog_begin(struct catalog *catalog, bool durable, struct err *err)
{
	if (!catalog->in_memory && catalog->is_durable != durable) {
		if (catalog_exec(catalog,
				 durable ? "PRAGMA synchronous = FULL"
					 : "PRAGMA synchronous = NORMAL",
				 err) < 0)
			return -1;
		catalog->is_durable = durable;
	}
	catalog->recording = false;
	catalog->n_changes = sqlite3_total_changes(catalog->db);
	if (catalog_exec(catalog, "BEGIN", err) < 0)
		return -1;
	/* If the disk was full when the store was opened, the first transaction records the
	 * opening, before anything refers to it. */
	if (!catalog->is_noted && record(catalog, err) < 0) {
		catalog_rollback(catalog);
		return -1;
	}
	return 0;
}

int catalog_commit(struct catalog *catalog, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_COMMIT);

	catalog->has_written = sqlite3_total_changes(catalog->db) != catalog->n_changes;
	catalog->is_in_doubt = false;
	if (run_all(&run, err) < 0) {
		/* The end of the transaction is written last, then synced. */
		catalog->is_in_doubt = catalog->has_written &&
				       catalog->last_rc != SQLITE_IOERR_WRITE &&
				       !catalog_found_disk_full(catalog);
		return -1;
	}
	if (catalog->recording)
		catalog->is_noted = true;
	return 0;
}

void catalog_rollback(struct catalog *catalog)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_ROLLBACK);

	/* SQLite may have rolled back already. The statement is prepared, so that it needs no
	 * memory. */
	if (!sqlite3_get_autocommit(catalog->db))
		sqlite3_step(run.stmt);
}

int catalog_savepoint(struct catalog *catalog, struct err *err)
{
	return catalog_exec(catalog, "SAVEPOINT job", err);
}

int catalog_keep(struct catalog *catalog, struct err *err)
{
	return catalog_exec(catalog, "RELEASE job", err);
}

int catalog_undo(struct catalog *catalog)
{
	if (sqlite3_get_autocommit(catalog->db) ||
	    sqlite3_exec(catalog->db, "ROLLBACK TO job; RELEASE job", NULL, NULL, NULL) !=
		    SQLITE_OK)
		return -1;
	return 0;
}

int catalog_note_opening(struct catalog *catalog, struct err *err)
{
	uint32_t number = 0;

	if (catalog->is_noted)
		return 0;
	if (catalog_begin(catalog, false, err) == 0 && catalog_commit(catalog, err) == 0)
		return 0;
	catalog_rollback(catalog);
	/* The next opening would get the same number, so use a random one. */
	if (getrandom(&number, sizeof(number), 0) == sizeof(number))
		catalog->life = LIFE_UNNOTED + number % LIFE_UNNOTED;
	return -1;
}

static int reserve_ids(struct catalog *catalog, struct err *err)
{
	uint64_t before = catalog->reserved_id;

	catalog->reserved_id = catalog->next_id + IDS_AT_ONCE;
	catalog->is_noted = false;
	if (catalog_begin(catalog, true, err) < 0 || catalog_commit(catalog, err) < 0) {
		catalog_rollback(catalog);
		catalog->reserved_id = before;
		return -1;
	}
	return 0;
}

int catalog_take_id(struct catalog *catalog, uint64_t *ret, struct err *err)
{
	if (catalog->next_id == catalog->reserved_id && reserve_ids(catalog, err) < 0)
		return -1;
	*ret = catalog->next_id++;
	return 0;
}

/* The seconds since 1970 times 2^20 are larger than the counter of any store. */
void catalog_skip_ids(struct catalog *catalog, uint64_t last)
{
	int64_t now_s = clock_wall_ms() / MS_PER_S;
	uint64_t beyond = now_s > 0 ? (uint64_t)now_s << 20 : 0;

	if (last < catalog->next_id)
		return;
	catalog->next_id = catalog->reserved_id = beyond > last ? beyond : last + 1;
	catalog->is_noted = false;
}

uint64_t catalog_next_id(const struct catalog *catalog)
{
	return catalog->next_id;
}
