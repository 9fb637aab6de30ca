/*
 * catalog: the records of terms and snapshots, in SQLite. No other module contains SQL.
 *
 * There is one connection. The store ensures that one thread at a time uses it. Functions that read
 * may be called in or outside a transaction, functions that write only between catalog_begin() and
 * catalog_commit(). Deleting a row does not delete its file: the caller gets a list, and deletes
 * the files after the commit.
 *
 * A row is "held" while the kernel may know its node: from the moment when it is superseded until
 * catalog_release(). held_in is the mount in which that happened: on a fresh mount nothing is held,
 * and a process that takes over a mount finds everything still held.
 */
#ifndef STORE_CATALOG_H
#define STORE_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "store/snapshot.h"
#include "store/store.h"

struct catalog;

/* The file of a snapshot whose row is deleted. */
struct catalog_file {
	uint64_t id;
	uint64_t size_bytes;
};

struct catalog_files {
	struct catalog_file *items; /* owned */
	size_t n;
	size_t capacity;
};

int catalog_files_add(struct catalog_files *files, uint64_t id, uint64_t size_bytes,
		      struct err *err);
void catalog_files_release(struct catalog_files *files);

/*
 * Opens DIR/catalog.db, or makes it. ERR_BAD_DATA if it is not a catalog, is damaged, or has no
 * record of the mount; ERR_CONFIG if a newer rptfs wrote it. Fields are as in struct store_setup;
 * dir_fd is borrowed until catalog_close(). With a mount number nothing is made or checked page by
 * page.
 */
struct catalog_setup {
	int dir_fd;
	const char *dir;
	bool in_memory;
	uint64_t mount;
};

int catalog_open(struct catalog **ret, const struct catalog_setup *setup, struct err *err);
/* See store_peek(). */
int catalog_peek(int dir_fd, const char *dir, struct err *err);

/* As store_find(). */
int catalog_find(int dir_fd, const char *dir, bool *ret, struct err *err);
void catalog_close(struct catalog *catalog);

DEFINE_CLEANUP(struct catalog, catalog_close)

/* Whether no previous opening was recorded. */
bool catalog_is_new(const struct catalog *catalog);
uint32_t catalog_life(const struct catalog *catalog);
uint64_t catalog_mount(const struct catalog *catalog);
/* Records this opening in the catalog; otherwise the first transaction does it. On failure, the
 * life becomes a random number, so that no other opening has it. */
int catalog_note_opening(struct catalog *catalog, struct err *err);
/* Whether the last failure was a full disk, or a damaged catalog. */
bool catalog_found_disk_full(const struct catalog *catalog);
bool catalog_found_damage(const struct catalog *catalog);
/* Whether the last catalog_commit() failed but may have taken effect when the catalog is opened
 * next: all of it is in the log, until another transaction overwrites it. */
bool catalog_is_in_doubt(const struct catalog *catalog);
/* Whether the last catalog_commit() wrote anything. */
bool catalog_has_written(const struct catalog *catalog);

/* durable: once catalog_commit() returns, a power cut cannot undo the transaction. */
int catalog_begin(struct catalog *catalog, bool durable, struct err *err);
int catalog_commit(struct catalog *catalog, struct err *err);
void catalog_rollback(struct catalog *catalog);

/* catalog_undo() rolls back to catalog_savepoint(), or returns -1 if the whole transaction is lost.
 * catalog_keep() releases the savepoint. */
int catalog_savepoint(struct catalog *catalog, struct err *err);
int catalog_keep(struct catalog *catalog, struct err *err);
int catalog_undo(struct catalog *catalog);

/* Allocates an id, each only once. Call it outside a transaction. */
int catalog_take_id(struct catalog *catalog, uint64_t *ret, struct err *err);
/* Excludes ids up to this one, which files have, from allocation. Call it before any id is
 * taken. */
void catalog_skip_ids(struct catalog *catalog, uint64_t last);
/* The next id; after opening, all smaller ones belong to previous openings. */
uint64_t catalog_next_id(const struct catalog *catalog);

/* Calls each() for every snapshot, ordered by id, until it returns -1. */
int catalog_list(struct catalog *catalog,
		 int (*each)(void *arg, uint64_t id, uint64_t size_bytes, struct err *err),
		 void *arg, struct err *err);

int catalog_count(struct catalog *catalog, uint64_t *ret_snapshots, uint64_t *ret_bytes,
		  struct err *err);

/*
 * Makes the snapshot the current one of the term, and the previous one superseded. Sets
 * published_at_ms, later than that of any other snapshot of the term. Deletes the snapshots that
 * `history` does not keep. token may be NULL. is_new, so not shown before: fetched_at_ms becomes
 * the time of confirmation, and the mtime is changed if another version of the term has it or had
 * it. Without an mtime, published_at_ms is the mtime.
 */
int catalog_insert(struct catalog *catalog, const char *term, struct snapshot *snapshot,
		   const char *token, uint64_t fingerprint, unsigned history, bool is_new,
		   struct catalog_files *deleted, struct err *err);

/* Returns 1, or 0 if the term has no such snapshot. The token is the caller's. */
int catalog_describe(struct catalog *catalog, uint64_t id, const char *term, char **ret_token,
		     uint64_t *ret_fingerprint, enum snapshot_integrity *ret_integrity,
		     struct err *err);

/* See the functions of the same names in store.h. */
int catalog_load_all(struct catalog *catalog,
		     int (*each)(void *arg, const char *name, struct store_term *term,
				 struct err *err),
		     void *arg, struct err *err);
int catalog_list_held(struct catalog *catalog,
		      int (*each)(void *arg, const char *term, struct snapshot *snapshot,
				  struct err *err),
		      void *arg, struct err *err);

int catalog_set_confirmed(struct catalog *catalog, const char *term, int64_t wall_ms,
			  struct err *err);
int catalog_set_token(struct catalog *catalog, const char *term, const char *token,
		      uint64_t fingerprint, struct err *err);
/* Changes the fingerprint of the term's current snapshot to `after` if it is `before`. */
int catalog_replace_fingerprint(struct catalog *catalog, const char *term, uint64_t before,
				uint64_t after, struct err *err);
int catalog_set_verified(struct catalog *catalog, uint64_t id, struct err *err);
int catalog_remove_current(struct catalog *catalog, const char *term, struct err *err);
int catalog_release(struct catalog *catalog, uint64_t id, struct catalog_files *deleted,
		    struct err *err);

/* Finds the name of the snapshot's term (the caller's; NULL: there is no such row), and whether the
 * snapshot is the current one. */
int catalog_find_owner(struct catalog *catalog, uint64_t id, char **ret_term, bool *ret_is_current,
		       struct err *err);
/* Marks a snapshot as corrupt: held, not current, and not kept as history. */
int catalog_condemn(struct catalog *catalog, uint64_t id, struct err *err);
/* Deletes the row, if it exists. */
int catalog_delete(struct catalog *catalog, uint64_t id, struct catalog_files *deleted,
		   struct err *err);
/* Deletes every snapshot that no term's history keeps. None may be held. */
int catalog_prune_all(struct catalog *catalog, struct catalog_files *deleted, struct err *err);

/* See the functions of the same names in store.h. */
int catalog_refuse(struct catalog *catalog, const char *term, uint64_t fingerprint,
		   const char *token, const char *reason, struct err *err);
int catalog_list_refused(struct catalog *catalog,
			 int (*each)(void *arg, const struct store_refusal *refusal,
				     struct err *err),
			 void *arg, struct err *err);

/* *ret is 0 if the directory has no id yet. */
int catalog_find_directory(struct catalog *catalog, const char *path, uint64_t *ret,
			   struct err *err);
int catalog_insert_directory(struct catalog *catalog, const char *path, uint64_t id,
			     struct err *err);

/* See store_retain(). */
int catalog_retain(struct catalog *catalog, const char *const *terms, size_t n_terms,
		   struct catalog_files *deleted, struct err *err);

#endif
