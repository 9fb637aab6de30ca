/*
 * catalog_internal: declarations that the files of the catalog share: the connection, and one run
 * of a statement.
 *
 * Statements are prepared once, at opening, which also proves that the tables are the expected
 * ones. A run borrows a statement from run_start() to the end of its scope.
 */
#ifndef STORE_CATALOG_INTERNAL_H
#define STORE_CATALOG_INTERNAL_H

#include <sqlite3.h>

#include "store/catalog.h"

#define CATALOG_APPLICATION_ID 1919972454 /* "rptf" */
#define CATALOG_SCHEMA_VERSION 3
#define VERIFIED_CORRUPT       -1 /* instead of the number of a boot */

enum query {
	QUERY_COMMIT,
	QUERY_ROLLBACK,
	QUERY_RECORD,
	QUERY_LIST,
	QUERY_COUNT_ROWS,
	QUERY_ADD_TERM,
	QUERY_FIND_TERM,
	QUERY_NEXT_BUMP,
	QUERY_HAS_MTIME,
	QUERY_INSERT,
	QUERY_HOLD_CURRENT,
	QUERY_SET_CURRENT,
	QUERY_CLEAR_CURRENT,
	QUERY_PRUNE,
	QUERY_PRUNE_ALL,
	QUERY_DESCRIBE,
	QUERY_LOAD_ALL,
	QUERY_LIST_HELD,
	QUERY_SET_TOKEN,
	QUERY_SET_FINGERPRINT,
	QUERY_SET_CONFIRMED,
	QUERY_SET_VERIFIED,
	QUERY_RELEASE,
	QUERY_CONDEMN,
	QUERY_UNSET_CURRENT,
	QUERY_FIND_OWNER,
	QUERY_DELETE,
	QUERY_REFUSE,
	QUERY_FORGET_REFUSED,
	QUERY_LIST_REFUSED,
	QUERY_FIND_DIRECTORY,
	QUERY_INSERT_DIRECTORY,
	QUERY_LIST_TERMS,
	QUERY_SET_MISSED,
	QUERY_UNSET_MISSED,
	QUERY_LIST_MISSED,
	QUERY_DELETE_SNAPSHOTS,
	QUERY_DELETE_REFUSED,
	QUERY_DELETE_TERM,
	QUERY_COUNT,
};

struct catalog {
	sqlite3 *db;			    /* owned */
	sqlite3_stmt *queries[QUERY_COUNT]; /* owned */
	char *path;			    /* owned; for messages */
	int last_rc;			    /* SQLite's code of the last failure */
	bool in_memory;
	bool is_durable;  /* the present value of PRAGMA synchronous */
	bool is_noted;	  /* the catalog has this opening's life, mount and boot */
	bool is_in_doubt; /* see catalog_is_in_doubt() */
	bool has_written; /* see catalog_has_written() */
	int n_changes;	  /* of the connection, when the transaction began */
	bool recording;	  /* the transaction makes is_noted true */
	uint32_t life;
	uint64_t mount;
	int64_t boot; /* number of the present boot */
	char boot_id[40];
	uint64_t next_id;
	uint64_t reserved_id; /* ids from next_id to this one, exclusive, are reserved */
};

/* Sets err from the connection's last error. Returns -1. */
int catalog_fail(struct catalog *catalog, const char *action, struct err *err);
/* Runs statements without parameters and results. */
int catalog_exec(struct catalog *catalog, const char *sql, struct err *err);

extern const char catalog_schema[];
/* [i]: from format i to the next, in one transaction. */
extern const char *const catalog_migration[CATALOG_SCHEMA_VERSION];
extern const char *const catalog_sql[QUERY_COUNT];

struct run {
	struct catalog *catalog;
	sqlite3_stmt *stmt; /* borrowed */
	int n_bound;
	int rc;
};

struct run run_start(struct catalog *catalog, enum query query);
void run_end(struct run *run);
/* Each binds the next parameter. Texts and blobs are borrowed until the run ends. */
void run_int(struct run *run, int64_t value);
void run_text(struct run *run, const char *text);
void run_blob(struct run *run, const void *data, size_t len);
/* Returns 1 for a row, 0 at the end, or -1. */
int run_step(struct run *run, struct err *err);
/* Steps to the end. */
int run_all(struct run *run, struct err *err);

#define _cleanup_run_ _cleanup_(run_end)

#endif
