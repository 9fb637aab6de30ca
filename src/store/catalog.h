/*
 * catalog: what the store knows of its snapshots, in SQLite. The only place with SQL.
 *
 * One connection, for one thread at a time: the store sees to that. Functions that read may be
 * called inside or outside a transaction, functions that write only between catalog_begin() and
 * catalog_commit(). Deleting a row never touches its file: the caller gets a list, and unlinks
 * once the transaction has lasted.
 *
 * A row is "held" when the kernel may still know its node. That is so from the moment it is
 * superseded until catalog_release(); held_in names the mount in which it happened, so that nothing
 * is held on a fresh mount, and everything still is for who takes a mount over.
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

/* Of a snapshot whose row is gone. */
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
 * Opens DIR/catalog.db, or makes it. ERR_BAD_DATA if it is no catalog, or damaged, or does not know
 * the mount; ERR_CONFIG if a newer rptfs wrote it. Fields as in struct store_setup; with a mount
 * number nothing is made, and pages are not checked. dir_fd is borrowed until catalog_close().
 */
struct catalog_setup {
	int dir_fd;
	const char *dir;
	bool in_memory;
	uint64_t mount;
};

int catalog_open(struct catalog **ret, const struct catalog_setup *setup, struct err *err);
/* As store_peek(). */
int catalog_peek(int dir_fd, const char *dir, struct err *err);
void catalog_close(struct catalog *catalog);

DEFINE_CLEANUP(struct catalog, catalog_close)

/* Was no opening before this one noted? */
bool catalog_is_new(const struct catalog *catalog);
uint32_t catalog_life(const struct catalog *catalog);
uint64_t catalog_mount(const struct catalog *catalog);
/* Notes in the catalog that there is this opening, as every transaction does that is the first. If
 * it cannot be noted, the life becomes one that no other opening has. */
int catalog_note_opening(struct catalog *catalog, struct err *err);
/* Was the last failure a full disk? A damaged catalog? */
bool catalog_found_disk_full(const struct catalog *catalog);
bool catalog_found_damage(const struct catalog *catalog);
/* Of the last catalog_commit(). It failed, but who opens the catalog next may find that it did not:
 * all of it lies in the log, until another transaction is written over it? */
bool catalog_is_in_doubt(const struct catalog *catalog);
/* It wrote something? */
bool catalog_has_written(const struct catalog *catalog);

/* durable: catalog_commit() returns when not even a power cut can undo the transaction. */
int catalog_begin(struct catalog *catalog, bool durable, struct err *err);
int catalog_commit(struct catalog *catalog, struct err *err);
void catalog_rollback(struct catalog *catalog);

/* Between catalog_savepoint() and catalog_keep(), catalog_undo() takes back what was done since;
 * -1 if the whole transaction is lost. */
int catalog_savepoint(struct catalog *catalog, struct err *err);
int catalog_keep(struct catalog *catalog, struct err *err);
int catalog_undo(struct catalog *catalog);

/* An id that was never given before, nor will be again. Outside a transaction. */
int catalog_take_id(struct catalog *catalog, uint64_t *ret, struct err *err);
/* Files exist with ids up to this one: none of them is given (again). Before any is taken. */
void catalog_skip_ids(struct catalog *catalog, uint64_t last);
/* The first id that may be given; those below were given by predecessors. */
uint64_t catalog_next_id(const struct catalog *catalog);

/* Calls each() with every snapshot, in the order of ids, until it returns -1. */
int catalog_list(struct catalog *catalog,
		 int (*each)(void *arg, uint64_t id, uint64_t size_bytes, struct err *err),
		 void *arg, struct err *err);

int catalog_count(struct catalog *catalog, uint64_t *ret_snapshots, uint64_t *ret_bytes,
		  struct err *err);

/*
 * Makes the snapshot the term's current one, which supersedes the one before, sets its
 * published_at_ms (later than any other of the term), and deletes what `history` does not keep.
 * A token of NULL: none. is_confirmed: by the source that the bytes were fetched from.
 */
int catalog_insert(struct catalog *catalog, const char *term, struct snapshot *snapshot,
		   const char *token, uint64_t fingerprint, unsigned history, bool is_confirmed,
		   struct catalog_files *deleted, struct err *err);

/* Token and integrity of a snapshot of this term; 1, or 0 if there is no such row. The token is the
 * caller's. */
int catalog_describe(struct catalog *catalog, uint64_t id, const char *term, char **ret_token,
		     uint64_t *ret_fingerprint, enum snapshot_integrity *ret_integrity,
		     struct err *err);

/* As their namesakes in store.h. */
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
int catalog_set_verified(struct catalog *catalog, uint64_t id, struct err *err);
int catalog_remove_current(struct catalog *catalog, const char *term, struct err *err);
int catalog_release(struct catalog *catalog, uint64_t id, struct catalog_files *deleted,
		    struct err *err);

/* The name of the snapshot's term, the caller's (NULL if there is no such row), and whether it is
 * the current one. */
int catalog_find_owner(struct catalog *catalog, uint64_t id, char **ret_term, bool *ret_is_current,
		       struct err *err);
/* Makes a corrupt snapshot a held one that nothing keeps. */
int catalog_condemn(struct catalog *catalog, uint64_t id, struct err *err);
/* Deletes one row, if there is such a one. */
int catalog_delete(struct catalog *catalog, uint64_t id, struct catalog_files *deleted,
		   struct err *err);
/* Deletes what no term's history keeps; for when nothing is held. */
int catalog_prune_all(struct catalog *catalog, struct catalog_files *deleted, struct err *err);

/* As their namesakes in store.h. */
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

/* As store_retain(). */
int catalog_retain(struct catalog *catalog, const char *const *terms, size_t n_terms,
		   struct catalog_files *deleted, struct err *err);

#endif
