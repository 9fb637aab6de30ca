/*
 * store: the directory of snapshots, and the catalog that describes them.
 *
 *	catalog.db                SQLite, WAL
 *	lock                      flock(2)ed by the process that uses the store; contains its pid
 *	snapshots/XX/ID           one immutable file for each snapshot; XX is the second lowest byte
 *	                          of ID in hexadecimal, so that snapshots that are committed together
 *	                          are in one directory, which needs one fsync
 *	aside-TIME/               a catalog that was set aside for inspection, and perhaps its
 *	                          snapshots
 *
 * Life of a snapshot: an unnamed file is written and fsynced; linked to its name; recorded in the
 * catalog, in one transaction that also makes it the term's current snapshot (a restart now serves
 * it); superseded by the next one; released, when the kernel no longer holds its node; and deleted
 * when it is released and not among the last `history` ones.
 *
 * Each mount has a number. A process that takes over a mount opens the store with the number that
 * the previous process had: nodes that the kernel of that mount may hold are then still held, and
 * damage that only a power cut or another program can cause is not looked for again. A fresh mount
 * gets the next number, and nothing is held.
 *
 * All functions may be called from any thread, and block on the disk. Commits of several threads
 * share one transaction. Errors are ERR_INTERNAL unless said otherwise. Times are wall clock.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cancel.h"
#include "base/err.h"
#include "store/snapshot.h"

struct store;
struct store_writer;

struct store_setup {
	int dir_fd;	 /* borrowed for store_open(); may be O_PATH */
	const char *dir; /* for messages; copied */
	bool in_memory;	 /* need not survive a reboot */
	uint64_t mount;	 /* the number of the mount that is taken over; 0: a fresh mount */
	bool set_aside;	 /* move the present content to aside-TIME/ and begin with an empty store */
};

/*
 * Opens the store, by descriptor alone: the process needs no access to the directory's path.
 * A catalog that cannot be used is set aside, logged, and replaced by an empty one. Files without a
 * row are deleted, also those of the lost catalog. Rows whose file is missing or has another length
 * are logged and dropped.
 *
 * With a mount number none of this is done. ERR_BAD_DATA then means that this mount was served from
 * another store, or that the catalog is damaged. See store_remove_orphans().
 *
 * ERR_CONFIG if another process still uses the store after two seconds (the message has its pid),
 * or if a newer rptfs wrote it.
 */
int store_open(struct store **ret, const struct store_setup *setup, struct err *err);

/* Checks the format without the lock, while another process may use the store. Returns 0 if
 * store_open() would accept it or there is no catalog yet; else ERR_CONFIG or ERR_BAD_DATA. */
int store_peek(int dir_fd, const char *dir, struct err *err);

/* Does the directory have a catalog of ours, of any format? Looks at its first bytes only. */
int store_find(int dir_fd, const char *dir, bool *ret, struct err *err);

/* Checkpoints, closes and unlocks. No other call may be running, and no writer may be left. NULL is
 * allowed. */
void store_close(struct store *store);

/* Deletes files without a row that a killed process of this mount left behind. May be called at any
 * time after store_open(), while other threads use the store. */
int store_remove_orphans(struct store *store, struct err *err);

/* The number of the mount; never 0. */
uint64_t store_mount(const struct store *store);

/* Rises with each opening of this store, below 2^31. For ids that do not outlive the process. */
uint32_t store_life(const struct store *store);

/* A new id, larger than all ids that were allocated before. */
int store_take_id(struct store *store, uint64_t *ret, struct err *err);
/* The largest id that may have been allocated before this opening. */
uint64_t store_last_id(const struct store *store);

/* The id of the directory `path` ("geo", "a/b"). Survives restarts. */
int store_directory_id(struct store *store, const char *path, uint64_t *ret, struct err *err);

/* Slot numbers are smaller; see struct store_term. */
#define STORE_SLOTS (INT64_C(1) << 20)

/* The store's record of one term. */
struct store_term {
	struct snapshot *snapshot; /* the current one: a reference; or NULL */
	char *token;		   /* the last that the source gave for the bytes, with notes on it;
				    * owned; or NULL */
	uint64_t fingerprint;	   /* of that source */
	int64_t confirmed_at_ms;   /* see store_set_confirmed(); or when they were fetched; or 0 */
	uint32_t slot; /* kept as long as the store has a record of the term; 0: none was free */
};

void store_term_release(struct store_term *term);

/* Calls each() for every term in the store, in strcmp order, until it returns -1. each() takes
 * ownership of the contents of `term`, even if it fails, and must not call the store. */
int store_load_all(struct store *store,
		   int (*each)(void *arg, const char *name, struct store_term *term,
			       struct err *err),
		   void *arg, struct err *err);

/*
 * Calls each(), until it returns -1, for every snapshot that the kernel of this mount may hold,
 * except the current ones of configured terms. Call it after store_retain(). There are none on a
 * fresh mount. The term need not be configured any more. each() takes the reference, even if it
 * fails, and must not call the store.
 */
int store_list_held(struct store *store,
		    int (*each)(void *arg, const char *term, struct snapshot *snapshot,
				struct err *err),
		    void *arg, struct err *err);

/* Records which terms are configured; names are in strcmp order. New terms get the lowest free
 * slots. The data of other terms is deleted seven days after they were first missing. If this
 * cannot be recorded, on a full disk for example, it is logged. */
void store_retain(struct store *store, const char *const *terms, size_t n_terms);

/* Starts an unnamed file. A writer is used by one thread at a time. */
int store_writer_new(struct store *store, struct store_writer **ret, struct err *err);
void store_writer_free(struct store_writer *writer);
int store_writer_write(struct store_writer *writer, const void *data, size_t len, struct err *err);
/* Discards everything written so far. */
int store_writer_restart(struct store_writer *writer, struct err *err);
uint64_t store_writer_size(const struct store_writer *writer);
/* Ends writing, and returns the SHA-256 of all bytes. */
int store_writer_digest(struct store_writer *writer, uint8_t ret[DIGEST_SIZE], struct err *err);

/*
 * Makes the writer's bytes the term's current snapshot, durably. The digest must have been taken.
 * The caller still frees the writer. `history` is how many superseded snapshots the term keeps.
 */
int store_commit(struct store *store, struct store_writer *writer, const char *term,
		 const struct snapshot_info *info, unsigned history, struct snapshot **ret,
		 struct err *err);

/*
 * Makes the bytes of a snapshot of this term (current, superseded or removed) its current snapshot
 * again, durably, with a new id and time of publishing. Token and time of confirmation stay.
 * ERR_NOT_FOUND if the store no longer has the bytes.
 */
int store_republish(struct store *store, const struct snapshot *snapshot, const char *term,
		    unsigned history, struct snapshot **ret, struct err *err);

/* Records another token for the bytes of the current snapshot. A power cut may undo it. */
int store_set_token(struct store *store, const char *term, const char *token, uint64_t fingerprint,
		    struct err *err);

struct store_fingerprint {
	const char *term;
	uint64_t before, after;
};

/* Replaces, in one transaction, fingerprints of current snapshots that have changed although the
 * source is the same. A power cut may undo it. */
int store_replace_fingerprints(struct store *store, const struct store_fingerprint *items, size_t n,
			       struct err *err);

/* Records when a source confirmed the current snapshot; a commit does so by itself. A power cut may
 * undo it. */
int store_set_confirmed(struct store *store, const char *term, int64_t wall_ms, struct err *err);

/* Notes when a source has last confirmed the term's current snapshot (wall clock; 0: the last check
 * failed). It costs no transaction, because it is the time of the snapshot's file. A power cut may
 * undo it. */
void store_note_check(struct store *store, const struct snapshot *snapshot, int64_t wall_ms);
/* What was noted last, or when the file was written. */
int64_t store_noted_check(struct store *store, const struct snapshot *snapshot);

/* Leaves the term without a current snapshot, durably. The bytes stay as history. */
int store_remove_current(struct store *store, const char *term, struct err *err);

/* Records, durably, that this token of this source was refused, and why: one token a source. A NULL
 * token forgets it. */
int store_refuse(struct store *store, const char *term, uint64_t fingerprint, const char *token,
		 const char *reason, struct err *err);

struct store_refusal {
	const char *term;
	uint64_t fingerprint; /* of the source */
	const char *token;
	const char *reason;
};

/* Calls each() for every refused token, until it returns -1. The texts are valid during the call.
 * each() must not call the store. */
int store_list_refused(struct store *store,
		       int (*each)(void *arg, const struct store_refusal *refusal, struct err *err),
		       void *arg, struct err *err);

/* Returns a read-only descriptor of the snapshot's bytes, the caller's. Does not verify them. */
int store_open_bytes(struct store *store, const struct snapshot *snapshot, struct err *err);

/*
 * Verifies that the bytes are those that were committed. Returns 0 at once if they were written or
 * verified since the machine was booted, else reads them all. ERR_BAD_DATA if they differ (the
 * snapshot is then SNAPSHOT_CORRUPT); ERR_CANCELED. Two threads may both read the same snapshot.
 */
int store_verify(struct store *store, struct snapshot *snapshot, struct cancel *cancel,
		 struct err *err);

/* Records, durably, that the snapshot is corrupt: it is not the current one any more, and never
 * will be again. Its row stays until store_release(), since the kernel may hold its node. */
int store_drop(struct store *store, const struct snapshot *snapshot, struct err *err);

/* The kernel no longer holds the node of this superseded snapshot. It is deleted when it is not
 * among the last `history` ones. */
void store_release(struct store *store, const struct snapshot *snapshot);

/* The number of snapshots in the catalog and of their bytes. Does not block. */
void store_usage(struct store *store, uint64_t *ret_snapshots, uint64_t *ret_bytes);

#endif
