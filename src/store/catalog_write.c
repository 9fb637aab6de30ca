/*
 * Changing the catalog.
 */
#include <string.h>

#include "base/clock.h"
#include "store/catalog_columns.h"
#include "store/catalog_internal.h"

#define MISSED_TERM_KEPT_MS (INT64_C(7) * 86400 * MS_PER_S)

/* Runs a statement that deletes snapshots and returns FILE_COLUMNS of each. */
static int run_deletion(struct run *run, struct catalog_files *deleted, struct err *err)
{
	int more;

	while ((more = run_step(run, err)) > 0) {
		if (catalog_files_add(deleted, (uint64_t)sqlite3_column_int64(run->stmt, FILE_ID),
				      (uint64_t)sqlite3_column_int64(run->stmt, FILE_SIZE),
				      err) < 0)
			return -1;
	}
	return more;
}

/* For statements whose only parameters are numbers. */
static int run_numbers(struct catalog *catalog, enum query query, const int64_t *numbers, int n,
		       struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, query);

	for (int i = 0; i < n; i++)
		run_int(&run, numbers[i]);
	return run_all(&run, err);
}

#define NUMBERS(...) \
	(const int64_t[]){ __VA_ARGS__ }, (int)ARRAY_SIZE(((const int64_t[]){ __VA_ARGS__ }))

struct known_term {
	int64_t row;
	int64_t published_at_ms; /* of the last snapshot */
	struct timespec dropped; /* the latest mtime of a deleted snapshot, or CLOCK_NO_TIME */
};

/* Returns 1, or 0 if there is no such term. */
static int find_term(struct catalog *catalog, const char *name, struct known_term *ret,
		     struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_FIND_TERM);

	run_text(&run, name);
	int found = run_step(&run, err);
	if (found > 0) {
		ret->row = sqlite3_column_int64(run.stmt, TERM_ROW);
		ret->published_at_ms = sqlite3_column_int64(run.stmt, TERM_PUBLISHED);
		ret->dropped.tv_sec = sqlite3_column_int64(run.stmt, TERM_DROPPED_S);
		ret->dropped.tv_nsec = sqlite3_column_int(run.stmt, TERM_DROPPED_NS);
	}
	return found;
}

/* row 0: SQLite chooses one. */
static int add_term(struct catalog *catalog, const char *name, int64_t row, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_ADD_TERM);

	run_text(&run, name);
	if (row)
		run_int(&run, row);
	return run_all(&run, err);
}

static int find_or_add_term(struct catalog *catalog, const char *name, struct known_term *ret,
			    struct err *err)
{
	int found = find_term(catalog, name, ret, err);

	if (found == 0) {
		if (add_term(catalog, name, 0, err) < 0)
			return -1;
		found = find_term(catalog, name, ret, err);
	}
	/* A trigger in a catalog that somebody else made may have undone it. */
	if (found == 0)
		return err_set(err, ERR_INTERNAL, "catalog %s: a term cannot be added",
			       catalog->path);
	return found > 0 ? 0 : -1;
}

/* ---- the mtime of a new snapshot ---- */

/* How many seconds later than the source's time, because of snapshots with the same source's time.
 */
static int next_bump(struct catalog *catalog, int64_t term, struct timespec mtime, int64_t *ret,
		     struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_NEXT_BUMP);

	run_int(&run, term);
	run_int(&run, mtime.tv_sec);
	run_int(&run, mtime.tv_nsec);
	if (run_step(&run, err) < 0)
		return -1;
	*ret = sqlite3_column_int64(run.stmt, BUMP_NEXT);
	return 0;
}

/* Returns 1, 0 or -1. A time in whole seconds equals any other in the same second. */
static int has_mtime(struct catalog *catalog, int64_t term, struct timespec mtime, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_HAS_MTIME);

	run_int(&run, term);
	run_int(&run, mtime.tv_sec);
	run_int(&run, mtime.tv_nsec);
	return run_step(&run, err);
}

static bool is_later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

/*
 * Two versions never have the same mtime. A source whose time is that of a snapshot that is there
 * gets the next free second, for many programs compare whole seconds. A deleted snapshot may have
 * had any time up to the latest of them: the nanoseconds become the id, which is unique.
 */
static int make_distinct(struct catalog *catalog, const struct known_term *term,
			 struct snapshot *snapshot, int64_t *ret_bump_s, struct err *err)
{
	struct timespec mtime = snapshot->mtime;
	int64_t bump_s;
	int taken = 1;

	if (next_bump(catalog, term->row, mtime, &bump_s, err) < 0)
		return -1;
	while (taken > 0 &&
	       !__builtin_add_overflow(snapshot->mtime.tv_sec, bump_s, &mtime.tv_sec)) {
		taken = has_mtime(catalog, term->row, mtime, err);
		bump_s += taken;
	}
	if (taken < 0)
		return -1;
	if (taken) { /* no second is left */
		mtime.tv_sec = snapshot->mtime.tv_sec;
		bump_s = 0;
	}
	if (taken || (clock_is_time(term->dropped) && !is_later(mtime, term->dropped)))
		mtime.tv_nsec = (long)(snapshot->id % NS_PER_S);
	snapshot->mtime = mtime;
	*ret_bump_s = bump_s;
	return 0;
}

static int insert_snapshot(struct catalog *catalog, int64_t term, const struct snapshot *snapshot,
			   int64_t bump_s, const char *token, uint64_t fingerprint, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_INSERT);

	run_int(&run, (int64_t)snapshot->id);
	run_int(&run, term);
	run_int(&run, (int64_t)snapshot->size_bytes);
	run_int(&run, snapshot->mtime.tv_sec);
	run_int(&run, snapshot->mtime.tv_nsec);
	run_int(&run, bump_s);
	run_int(&run, snapshot->fetched_at_ms);
	run_int(&run, snapshot->published_at_ms);
	run_int(&run, snapshot->order_key);
	run_blob(&run, snapshot->sha256, sizeof(snapshot->sha256));
	run_text(&run, snapshot->version);
	run_text(&run, snapshot->source);
	run_text(&run, token);
	run_int(&run, (int64_t)fingerprint);
	run_int(&run, atomic_load(&snapshot->integrity) == SNAPSHOT_VERIFIED ? catalog->boot : 0);
	return run_all(&run, err);
}

static int prune(struct catalog *catalog, int64_t term, struct catalog_files *deleted,
		 struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_PRUNE);

	run_int(&run, term);
	run_int(&run, (int64_t)catalog->mount);
	return run_deletion(&run, deleted, err);
}

int catalog_prune_all(struct catalog *catalog, struct catalog_files *deleted, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_PRUNE_ALL);

	return run_deletion(&run, deleted, err);
}

static int set_current(struct catalog *catalog, int64_t term, const struct snapshot *snapshot,
		       unsigned history, bool is_new, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_SET_CURRENT);

	run_int(&run, term);
	run_int(&run, (int64_t)snapshot->id);
	run_int(&run, snapshot->published_at_ms);
	run_int(&run, history);
	if (is_new)
		run_int(&run, snapshot->fetched_at_ms);
	return run_all(&run, err);
}

int catalog_insert(struct catalog *catalog, const char *term, struct snapshot *snapshot,
		   const char *token, uint64_t fingerprint, unsigned history, bool is_new,
		   struct catalog_files *deleted, struct err *err)
{
	int64_t now_ms = clock_wall_ms(), bump_s = 0;
	struct known_term known;

	if (find_or_add_term(catalog, term, &known, err) < 0)
		return -1;
	snapshot->published_at_ms = now_ms > known.published_at_ms ? now_ms
								   : known.published_at_ms + 1;
	if (!clock_is_time(snapshot->mtime))
		snapshot->mtime = clock_from_ms(snapshot->published_at_ms);
	else if (is_new && make_distinct(catalog, &known, snapshot, &bump_s, err) < 0)
		return -1;
	if (insert_snapshot(catalog, known.row, snapshot, bump_s, token, fingerprint, err) < 0 ||
	    run_numbers(catalog, QUERY_HOLD_CURRENT, NUMBERS(known.row, (int64_t)catalog->mount),
			err) < 0 ||
	    set_current(catalog, known.row, snapshot, history, is_new, err) < 0)
		return -1;
	return prune(catalog, known.row, deleted, err);
}

int catalog_set_token(struct catalog *catalog, const char *term, const char *token,
		      uint64_t fingerprint, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_SET_TOKEN);

	run_text(&run, term);
	run_text(&run, token);
	run_int(&run, (int64_t)fingerprint);
	return run_all(&run, err);
}

int catalog_replace_fingerprint(struct catalog *catalog, const char *term, uint64_t before,
				uint64_t after, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_SET_FINGERPRINT);

	run_text(&run, term);
	run_int(&run, (int64_t)before);
	run_int(&run, (int64_t)after);
	return run_all(&run, err);
}

int catalog_set_verified(struct catalog *catalog, uint64_t id, struct err *err)
{
	return run_numbers(catalog, QUERY_SET_VERIFIED, NUMBERS((int64_t)id, catalog->boot), err);
}

int catalog_set_confirmed(struct catalog *catalog, const char *term, int64_t wall_ms,
			  struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_SET_CONFIRMED);

	run_text(&run, term);
	run_int(&run, wall_ms);
	return run_all(&run, err);
}

int catalog_remove_current(struct catalog *catalog, const char *term, struct err *err)
{
	struct known_term known;
	int found = find_term(catalog, term, &known, err);

	if (found <= 0)
		return found;
	if (run_numbers(catalog, QUERY_HOLD_CURRENT, NUMBERS(known.row, (int64_t)catalog->mount),
			err) < 0)
		return -1;
	return run_numbers(catalog, QUERY_CLEAR_CURRENT, NUMBERS(known.row), err);
}

int catalog_release(struct catalog *catalog, uint64_t id, struct catalog_files *deleted,
		    struct err *err)
{
	int64_t row = 0;
	{
		_cleanup_run_ struct run run = run_start(catalog, QUERY_RELEASE);

		run_int(&run, (int64_t)id);
		int found = run_step(&run, err);
		if (found <= 0)
			return found;
		row = sqlite3_column_int64(run.stmt, RELEASED_TERM);
		if (run_all(&run, err) < 0)
			return -1;
	}
	return prune(catalog, row, deleted, err);
}

int catalog_condemn(struct catalog *catalog, uint64_t id, struct err *err)
{
	if (run_numbers(catalog, QUERY_UNSET_CURRENT, NUMBERS((int64_t)id), err) < 0)
		return -1;
	return run_numbers(catalog, QUERY_CONDEMN, NUMBERS((int64_t)id, (int64_t)catalog->mount),
			   err);
}

int catalog_delete(struct catalog *catalog, uint64_t id, struct catalog_files *deleted,
		   struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_DELETE);

	if (run_numbers(catalog, QUERY_UNSET_CURRENT, NUMBERS((int64_t)id), err) < 0)
		return -1;
	run_int(&run, (int64_t)id);
	return run_deletion(&run, deleted, err);
}

int catalog_refuse(struct catalog *catalog, const char *term, uint64_t fingerprint,
		   const char *token, const char *reason, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog,
						 token ? QUERY_REFUSE : QUERY_FORGET_REFUSED);
	struct known_term known;

	if (!token) {
		run_text(&run, term);
		run_int(&run, (int64_t)fingerprint);
		return run_all(&run, err);
	}
	if (find_or_add_term(catalog, term, &known, err) < 0)
		return -1;
	run_int(&run, known.row);
	run_int(&run, (int64_t)fingerprint);
	run_text(&run, token);
	run_text(&run, reason);
	return run_all(&run, err);
}

int catalog_insert_directory(struct catalog *catalog, const char *path, uint64_t id,
			     struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_INSERT_DIRECTORY);

	run_text(&run, path);
	run_int(&run, (int64_t)id);
	return run_all(&run, err);
}

/* The result of one pass of catalog_retain() over all terms. */
struct retention {
	size_t *unknown; /* owned; indices of names that have no row */
	size_t n_unknown;
	uint64_t *slots; /* owned; one bit for each, set if it is taken */
};

static void retention_release(struct retention *retention)
{
	free(retention->unknown);
	free(retention->slots);
}

static int retention_init(struct retention *ret, size_t n_terms, struct err *err)
{
	ret->unknown = calloc(n_terms + 1, sizeof(*ret->unknown));
	ret->slots = calloc(STORE_SLOTS / 64, sizeof(*ret->slots));
	return ret->unknown && ret->slots ? 0
					  : err_set(err, ERR_INTERNAL, "catalog: out of memory");
}

static void take_slot(struct retention *retention, int64_t row)
{
	if (row > 0 && row < STORE_SLOTS)
		retention->slots[row / 64] |= UINT64_C(1) << row % 64;
}

/* Marks terms that are not configured any more, and unmarks those that are again. */
static int mark_missed(struct catalog *catalog, const char *const *terms, size_t n_terms,
		       int64_t now_ms, struct retention *retention, struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_LIST_TERMS);
	size_t i = 0;
	int more;

	while ((more = run_step(&run, err)) > 0) {
		int64_t row = sqlite3_column_int64(run.stmt, KNOWN_TERM_ROW);
		const char *name = (const char *)sqlite3_column_text(run.stmt, KNOWN_TERM_NAME);
		bool was_missed = sqlite3_column_int(run.stmt, KNOWN_TERM_IS_MISSED);

		if (!name)
			return err_set(err, ERR_INTERNAL, "catalog: out of memory");
		take_slot(retention, row);
		while (i < n_terms && strcmp(terms[i], name) < 0)
			retention->unknown[retention->n_unknown++] = i++;
		bool is_missed = i == n_terms || strcmp(terms[i], name) != 0;
		if (!is_missed)
			i++;
		if (is_missed == was_missed)
			continue;
		if ((is_missed ? run_numbers(catalog, QUERY_SET_MISSED,
					     NUMBERS(row, now_ms, (int64_t)catalog->mount), err)
			       : run_numbers(catalog, QUERY_UNSET_MISSED, NUMBERS(row), err)) < 0)
			return -1;
	}
	while (i < n_terms)
		retention->unknown[retention->n_unknown++] = i++;
	return more;
}

/* Each new term gets the lowest free row, because rows are slots. When no slot is free, SQLite
 * chooses the row. */
static int add_unknown(struct catalog *catalog, const char *const *terms,
		       const struct retention *retention, struct err *err)
{
	int64_t row = 1;

	for (size_t i = 0; i < retention->n_unknown; i++) {
		while (row < STORE_SLOTS && retention->slots[row / 64] & UINT64_C(1) << row % 64)
			row++;
		if (add_term(catalog, terms[retention->unknown[i]], row < STORE_SLOTS ? row++ : 0,
			     err) < 0)
			return -1;
	}
	return 0;
}

static int delete_term(struct catalog *catalog, int64_t row, struct catalog_files *deleted,
		       struct err *err)
{
	_cleanup_run_ struct run run = run_start(catalog, QUERY_DELETE_SNAPSHOTS);

	run_int(&run, row);
	if (run_deletion(&run, deleted, err) < 0 ||
	    run_numbers(catalog, QUERY_DELETE_REFUSED, NUMBERS(row), err) < 0)
		return -1;
	return run_numbers(catalog, QUERY_DELETE_TERM, NUMBERS(row), err);
}

int catalog_retain(struct catalog *catalog, const char *const *terms, size_t n_terms,
		   struct catalog_files *deleted, struct err *err)
{
	_cleanup_(retention_release) struct retention retention = { .n_unknown = 0 };
	int64_t now_ms = clock_wall_ms();
	int more;

	if (retention_init(&retention, n_terms, err) < 0 ||
	    mark_missed(catalog, terms, n_terms, now_ms, &retention, err) < 0 ||
	    add_unknown(catalog, terms, &retention, err) < 0)
		return -1;

	/* The kernel may still hold snapshots of a term that went missing in this mount. */
	_cleanup_run_ struct run run = run_start(catalog, QUERY_LIST_MISSED);

	run_int(&run, now_ms - MISSED_TERM_KEPT_MS);
	run_int(&run, (int64_t)catalog->mount);
	while ((more = run_step(&run, err)) > 0) {
		if (delete_term(catalog, sqlite3_column_int64(run.stmt, MISSED_TERM_ROW), deleted,
				err) < 0)
			return -1;
	}
	return more;
}
