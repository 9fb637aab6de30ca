/*
 * Reading the catalog.
 */
#include <string.h>

#include "store/catalog_columns.h"
#include "store/catalog_internal.h"

/* *ret is a copy of the column, the caller's, or NULL for NULL. */
static int copy_column(struct run *run, int column, char **ret, struct err *err)
{
	const char *text = (const char *)sqlite3_column_text(run->stmt, column);
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		return err_set(err, ERR_INTERNAL, "catalog: out of memory");
	*ret = copy;
	return 0;
}

int catalog_list(struct catalog *catalog,
		 int (*each)(void *arg, uint64_t id, uint64_t size_bytes, struct err *err),
		 void *arg, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_LIST);
	int more;

	while ((more = run_step(&run, err)) > 0) {
		if (each(arg, (uint64_t)sqlite3_column_int64(run.stmt, FILE_ID),
			 (uint64_t)sqlite3_column_int64(run.stmt, FILE_SIZE), err) < 0)
			return -1;
	}
	return more;
}

int catalog_count(struct catalog *catalog, uint64_t *ret_snapshots, uint64_t *ret_bytes,
		  struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_COUNT_ROWS);

	if (run_step(&run, err) < 0)
		return -1;
	*ret_snapshots = (uint64_t)sqlite3_column_int64(run.stmt, USAGE_SNAPSHOTS);
	*ret_bytes = (uint64_t)sqlite3_column_int64(run.stmt, USAGE_BYTES);
	return 0;
}

static enum snapshot_integrity integrity_of(const struct catalog *catalog, int64_t verified_in)
{
	if (verified_in == VERIFIED_CORRUPT)
		return SNAPSHOT_CORRUPT;
	return verified_in == catalog->boot ? SNAPSHOT_VERIFIED : SNAPSHOT_UNVERIFIED;
}

static struct snapshot *read_snapshot(struct catalog *catalog, sqlite3_stmt *stmt)
{
	const char *version = (const char *)sqlite3_column_text(stmt, SNAPSHOT_VERSION);
	const char *source = (const char *)sqlite3_column_text(stmt, SNAPSHOT_SOURCE);
	const void *sha256 = sqlite3_column_blob(stmt, SNAPSHOT_SHA256);
	struct snapshot *snapshot = version && source ? snapshot_new(version, source) : NULL;

	if (!snapshot)
		return NULL;
	snapshot->id = (uint64_t)sqlite3_column_int64(stmt, SNAPSHOT_ID);
	snapshot->size_bytes = (uint64_t)sqlite3_column_int64(stmt, SNAPSHOT_SIZE);
	snapshot->mtime.tv_sec = sqlite3_column_int64(stmt, SNAPSHOT_MTIME_S);
	snapshot->mtime.tv_nsec = sqlite3_column_int(stmt, SNAPSHOT_MTIME_NS);
	snapshot->fetched_at_ms = sqlite3_column_int64(stmt, SNAPSHOT_FETCHED);
	snapshot->published_at_ms = sqlite3_column_int64(stmt, SNAPSHOT_PUBLISHED);
	snapshot->order_key = sqlite3_column_int64(stmt, SNAPSHOT_ORDER_KEY);
	if (sha256 && sqlite3_column_bytes(stmt, SNAPSHOT_SHA256) == DIGEST_SIZE)
		memcpy(snapshot->sha256, sha256, DIGEST_SIZE);
	atomic_store(&snapshot->integrity,
		     integrity_of(catalog, sqlite3_column_int64(stmt, SNAPSHOT_VERIFIED_IN)));
	return snapshot;
}

/* From a row of SNAPSHOT_COLUMNS. */
static int read_term(struct run *run, struct store_term *ret, struct err *err)
{
	int64_t row = sqlite3_column_int64(run->stmt, SNAPSHOT_TERM_ROW);
	struct store_term term = {
		.slot = row > 0 && row < STORE_SLOTS ? (uint32_t)row : 0,
		.fingerprint = (uint64_t)sqlite3_column_int64(run->stmt, SNAPSHOT_FINGERPRINT),
		.confirmed_at_ms = sqlite3_column_int64(run->stmt, SNAPSHOT_TERM_CONFIRMED),
	};

	if (sqlite3_column_type(run->stmt, SNAPSHOT_ID) != SQLITE_NULL) {
		if (copy_column(run, SNAPSHOT_TOKEN, &term.token, err) < 0)
			return -1;
		term.snapshot = read_snapshot(run->catalog, run->stmt);
		if (!term.snapshot) {
			free(term.token);
			return err_set(err, ERR_INTERNAL, "catalog: out of memory");
		}
	}
	*ret = term;
	return 0;
}

int catalog_load_all(struct catalog *catalog,
		     int (*each)(void *arg, const char *name, struct store_term *term,
				 struct err *err),
		     void *arg, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_LOAD_ALL);
	struct store_term term;
	int more;

	while ((more = run_step(&run, err)) > 0) {
		const char *name = (const char *)sqlite3_column_text(run.stmt, SNAPSHOT_TERM_NAME);

		if (!name)
			return err_set(err, ERR_INTERNAL, "catalog: out of memory");
		if (read_term(&run, &term, err) < 0 || each(arg, name, &term, err) < 0)
			return -1;
	}
	return more;
}

int catalog_list_held(struct catalog *catalog,
		      int (*each)(void *arg, const char *term, struct snapshot *snapshot,
				  struct err *err),
		      void *arg, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_LIST_HELD);
	int more;

	run_int(&run, (int64_t)catalog->mount);
	while ((more = run_step(&run, err)) > 0) {
		const char *name = (const char *)sqlite3_column_text(run.stmt, SNAPSHOT_TERM_NAME);
		struct snapshot *snapshot = name ? read_snapshot(catalog, run.stmt) : NULL;

		if (!snapshot)
			return err_set(err, ERR_INTERNAL, "catalog: out of memory");
		if (each(arg, name, snapshot, err) < 0)
			return -1;
	}
	return more;
}

int catalog_describe(struct catalog *catalog, uint64_t id, const char *term, char **ret_token,
		     uint64_t *ret_fingerprint, enum snapshot_integrity *ret_integrity,
		     struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_DESCRIBE);

	run_int(&run, (int64_t)id);
	run_text(&run, term);
	int found = run_step(&run, err);
	if (found <= 0)
		return found;
	if (copy_column(&run, TOKEN_TEXT, ret_token, err) < 0)
		return -1;
	*ret_fingerprint = (uint64_t)sqlite3_column_int64(run.stmt, TOKEN_FINGERPRINT);
	*ret_integrity = integrity_of(catalog, sqlite3_column_int64(run.stmt, TOKEN_VERIFIED_IN));
	return 1;
}

int catalog_find_owner(struct catalog *catalog, uint64_t id, char **ret_term, bool *ret_is_current,
		       struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_FIND_OWNER);
	char *term = NULL;

	run_int(&run, (int64_t)id);
	int found = run_step(&run, err);
	if (found < 0 || (found && copy_column(&run, OWNER_NAME, &term, err) < 0))
		return -1;
	*ret_term = term;
	*ret_is_current = found && sqlite3_column_int(run.stmt, OWNER_IS_CURRENT);
	return 0;
}

int catalog_list_refused(struct catalog *catalog,
			 int (*each)(void *arg, const struct store_refusal *refusal,
				     struct err *err),
			 void *arg, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_LIST_REFUSED);
	int more;

	while ((more = run_step(&run, err)) > 0) {
		struct store_refusal refusal = {
			.term = (const char *)sqlite3_column_text(run.stmt, REFUSAL_TERM),
			.fingerprint = (uint64_t)sqlite3_column_int64(run.stmt,
								      REFUSAL_FINGERPRINT),
			.token = (const char *)sqlite3_column_text(run.stmt, REFUSAL_TOKEN),
			.reason = (const char *)sqlite3_column_text(run.stmt, REFUSAL_REASON),
		};

		if (!refusal.term || !refusal.token || !refusal.reason)
			return err_set(err, ERR_INTERNAL, "catalog: out of memory");
		if (each(arg, &refusal, err) < 0)
			return -1;
	}
	return more;
}

int catalog_find_directory(struct catalog *catalog, const char *path, uint64_t *ret,
			   struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_FIND_DIRECTORY);

	run_text(&run, path);
	int found = run_step(&run, err);
	if (found < 0)
		return -1;
	*ret = found ? (uint64_t)sqlite3_column_int64(run.stmt, DIRECTORY_ID) : 0;
	return 0;
}
