/*
 * store: the directory of snapshots and the catalog of what is known about them.
 *
 *	catalog.db                SQLite, WAL
 *	lock                      flock(2)ed by the process that uses the store; holds its pid
 *	snapshots/XX/ID           one immutable file each; XX: the second lowest
 *	                          byte of ID in hexadecimal, so that what is committed together lies
 *	                          together, and one fsync of a directory is enough for all
 *
 * A snapshot's life: an unnamed file is written and fsynced; linked to its name; recorded in the
 * catalog in one transaction that also makes it the term's current one (from there on a restart
 * serves it); superseded by the next; released, when the kernel no longer holds its node; and
 * deleted once it is released and no longer among the last `history` ones.
 *
 * All functions may be called from any thread and block on the disk. Commits of several threads
 * share one transaction. Errors are ERR_INTERNAL unless said otherwise.
 */
#ifndef TERM_STORE_H
#define TERM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/err.h"
#include "term/snapshot.h"

struct store;
struct store_writer;

/*
 * Opens the store in directory `dir` (made if it is missing, 0700). A catalog that cannot be used
 * is set aside as catalog.db.corrupt-TIME, logged, and replaced by an empty one (the snapshots'
 * files are then of no use and are removed). ERR_CONFIG when another process uses the store, and
 * still does after two seconds: the message names its pid. Files that the catalog does not know are
 * removed; rows whose file is missing or of another length are logged and dropped.
 */
int store_open(struct store **ret, const char *dir, struct err *err);

/* As store_open(), in memory: a private tmpfs when the process may mount one, else a directory
 * below $XDG_RUNTIME_DIR that is removed by store_close(). ERR_CONFIG when there is neither. */
int store_open_memory(struct store **ret, struct err *err);

/* Checkpoints, closes. No other call may be under way, no writer may be left. NULL is allowed. */
void store_close(struct store *store);

/* Rises with each opening of this store. For the ids of things that are not kept. */
uint32_t store_life(const struct store *store);

/* The id of the directory `path` ("geo", "a/b"), the same over restarts. */
int store_directory_id(struct store *store, const char *path, uint64_t *ret, struct err *err);

/*
 * The term's current snapshot, as of the last opening; *ret is NULL if it has none. The caller owns
 * the reference. With it the token that its source last gave for the bytes, and whose token it is;
 * ret_token (owned by the caller) is NULL if there is none.
 */
int store_load(struct store *store, const char *term, struct snapshot **ret, char **ret_token,
	       uint64_t *ret_fingerprint, struct err *err);

/* Tells the store which terms are configured now (names sorted by strcmp). What belongs to others
 * is kept for seven days after it was first missed, then removed. */
int store_retain(struct store *store, const char *const *terms, size_t n_terms, struct err *err);

/* Starts an unnamed file. One writer, one thread at a time. */
int store_writer_new(struct store *store, struct store_writer **ret, struct err *err);
void store_writer_free(struct store_writer *writer);
int store_writer_write(struct store_writer *writer, const void *data, size_t len, struct err *err);
/* Forgets all that was written. */
int store_writer_restart(struct store_writer *writer, struct err *err);
uint64_t store_writer_size(const struct store_writer *writer);
/* Ends writing: SHA-256 of all bytes. No write may follow. */
int store_writer_digest(struct store_writer *writer, uint8_t ret[DIGEST_SIZE], struct err *err);

/*
 * Makes the writer's bytes (digest taken) the current snapshot of the term, durably. The writer
 * stays the caller's to free. `history` is how many superseded ones the term keeps.
 */
int store_commit(struct store *store, struct store_writer *writer, const char *term,
		 const struct snapshot_info *info, unsigned history, struct snapshot **ret,
		 struct err *err);

/* The source gave another token for the bytes of the current snapshot. Not durable at once. */
int store_set_token(struct store *store, const char *term, const char *token, uint64_t fingerprint,
		    struct err *err);

/* The term has no current snapshot any more (the bytes stay as history). Durable. */
int store_remove_current(struct store *store, const char *term, struct err *err);

/* Remembers, durably, that this token of this source was refused and why; NULL token forgets. One
 * token a source. store_refused(): *ret_token and *ret_reason are the caller's, NULL if none. */
int store_refuse(struct store *store, const char *term, uint64_t fingerprint, const char *token,
		 const char *reason, struct err *err);
int store_refused(struct store *store, const char *term, uint64_t fingerprint, char **ret_token,
		  char **ret_reason, struct err *err);

/* A descriptor of the snapshot's bytes, read-only, the caller's. Does not check them. */
int store_open_bytes(struct store *store, const struct snapshot *snapshot, struct err *err);

/*
 * Makes sure that the bytes are what was committed: 0 at once when they were written or verified
 * since the machine was booted, else reads them all. ERR_BAD_DATA when they are not (the snapshot
 * is then SNAPSHOT_CORRUPT), ERR_CANCELED. Two threads that ask at once for one snapshot may both
 * read it.
 */
int store_verify(struct store *store, struct snapshot *snapshot, struct cancel *cancel,
		 struct err *err);

/* Removes a corrupt snapshot from catalog and disk. */
int store_drop(struct store *store, const struct snapshot *snapshot, struct err *err);

/* The kernel no longer holds the node of this superseded snapshot: it may be deleted, when no
 * longer among the `history` last ones. */
void store_release(struct store *store, const struct snapshot *snapshot);

/* Number of snapshots in the catalog and their bytes, for statfs and metrics. From memory. */
void store_usage(struct store *store, uint64_t *ret_snapshots, uint64_t *ret_bytes);

#endif
