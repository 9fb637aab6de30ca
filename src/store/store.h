/*
 * store: the directory of snapshots and the catalog of what is known about them.
 *
 *	catalog.db                SQLite, WAL
 *	lock                      flock(2)ed by the process that uses the store; holds its pid
 *	snapshots/XX/ID           one immutable file each; XX: the second lowest
 *	                          byte of ID in hexadecimal, so that what is committed together lies
 *	                          together, and one fsync of a directory is enough for all
 *	aside-TIME/               what was set aside for inspection: a catalog, perhaps its
 *snapshots
 *
 * A snapshot's life: an unnamed file is written and fsynced; linked to its name; recorded in the
 * catalog in one transaction that also makes it the term's current one (from there on a restart
 * serves it); superseded by the next; released, when the kernel no longer holds its node; and
 * deleted once it is released and no longer among the last `history` ones.
 *
 * A mount has a number. A process that takes over a mount opens the store with the number that its
 * predecessor had: what the kernel of that mount may hold is then still held, and what only a power
 * cut or a stranger could have damaged is not checked again. A fresh mount gets the next number,
 * and nothing is held.
 *
 * All functions may be called from any thread and block on the disk. Commits of several threads
 * share one transaction. Errors are ERR_INTERNAL unless said otherwise.
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
	bool in_memory;	 /* nothing has to last longer than the machine runs */
	uint64_t mount;	 /* 0: a fresh mount; else the number of the mount that is taken over */
	bool set_aside;	 /* begin with an empty store, keep what is there in aside-TIME/ */
};

/*
 * Opens the store, by descriptor alone: the process needs no right to the directory's path.
 * A catalog that cannot be used is set aside, logged, and replaced by an empty one; files that the
 * catalog does not know are removed (those of the lost catalog, too); rows whose file is missing
 * or of another length are logged and dropped.
 *
 * With a mount number none of this is done, and ERR_BAD_DATA says that the store is not the one
 * that this mount was served from, or is damaged. See store_tidy_up().
 *
 * ERR_CONFIG when another process uses the store, and still does after two seconds (the message
 * names its pid), or when a newer rptfs wrote it.
 */
int store_open(struct store **ret, const struct store_setup *setup, struct err *err);

/* A look at the store beside the process that uses it, without its lock: 0 if store_open() would
 * know its format (or there is none yet), ERR_CONFIG, ERR_BAD_DATA. */
int store_peek(int dir_fd, const char *dir, struct err *err);

/* Checkpoints, closes, unlocks. No other call may be under way, no writer may be left. NULL is
 * allowed. */
void store_close(struct store *store);

/* Removes files that a predecessor of this mount, which was killed, has left and the catalog does
 * not know. Beside everything else, at any time after store_open(). */
int store_tidy_up(struct store *store, struct err *err);

/* The number of the mount; never 0. */
uint64_t store_mount(const struct store *store);

/* Rises with each opening of this store, below 2^31. For the ids of things that are not kept. */
uint32_t store_life(const struct store *store);

/* An id that is nobody's, nor will be; larger than all that were given before. */
int store_take_id(struct store *store, uint64_t *ret, struct err *err);
/* No predecessor was given an id that is larger. */
uint64_t store_last_id(const struct store *store);

/* The id of the directory `path` ("geo", "a/b"), the same over restarts. */
int store_directory_id(struct store *store, const char *path, uint64_t *ret, struct err *err);

/* Numbers of slots are smaller; see struct store_term. */
#define STORE_SLOTS (INT64_C(1) << 20)

/* What the store has of one term. */
struct store_term {
	struct snapshot *snapshot; /* the current one: a reference; NULL: none */
	char *token;		   /* that its source last gave for the bytes; owned; NULL: none */
	uint64_t fingerprint;	   /* whose token that is */
	int64_t confirmed_at_ms; /* store_set_confirmed(), or when the bytes were fetched; 0: never
				  */
	uint32_t slot; /* the term's own as long as the store knows it; 0: there is none left */
};

void store_term_release(struct store_term *term);

/* Calls each() with every term that the store knows, in the order of strcmp, until it returns -1.
 * each() takes what `term` owns, even if it fails; it must not call the store. */
int store_load_all(struct store *store,
		   int (*each)(void *arg, const char *name, struct store_term *term,
			       struct err *err),
		   void *arg, struct err *err);

/*
 * Calls each() with every snapshot that is not the current one of a configured term and that the
 * kernel of this mount may hold, until it returns -1; after store_retain(). None on a fresh mount.
 * each() takes the reference, even if it fails; it must not call the store. The term need not be
 * configured any more.
 */
int store_list_held(struct store *store,
		    int (*each)(void *arg, const char *term, struct snapshot *snapshot,
				struct err *err),
		    void *arg, struct err *err);

/* Tells the store which terms are configured now (names sorted by strcmp): each gets a slot, the
 * lowest that is free. What belongs to others is kept for seven days after it was first missed,
 * then removed. What cannot be noted, on a full
 * disk for example, is logged, and no reason not to serve. */
void store_retain(struct store *store, const char *const *terms, size_t n_terms);

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

/*
 * Makes the bytes of a snapshot (current, history or removed, of this term) the term's current
 * snapshot again, durably, under a new id and as published now; token and time of confirmation stay
 * what they were. ERR_NOT_FOUND if the store does not have them any more.
 */
int store_republish(struct store *store, const struct snapshot *snapshot, const char *term,
		    unsigned history, struct snapshot **ret, struct err *err);

/* The source gave another token for the bytes of the current snapshot. Not durable at once. */
int store_set_token(struct store *store, const char *term, const char *token, uint64_t fingerprint,
		    struct err *err);

/* A source said at this time (wall clock) that what is current is what it has. Not durable at once;
 * a commit confirms by itself. */
int store_set_confirmed(struct store *store, const char *term, int64_t wall_ms, struct err *err);

/* The term has no current snapshot any more (the bytes stay as history). Durable. */
int store_remove_current(struct store *store, const char *term, struct err *err);

/* Remembers, durably, that this token of this source was refused, and why: one token a source. A
 * NULL token forgets it. */
int store_refuse(struct store *store, const char *term, uint64_t fingerprint, const char *token,
		 const char *reason, struct err *err);

struct store_refusal {
	const char *term;
	uint64_t fingerprint; /* of the source */
	const char *token;
	const char *reason;
};

/* Calls each() with every refused token, until it returns -1. The texts are valid during the call.
 * each() must not call the store. */
int store_list_refused(struct store *store,
		       int (*each)(void *arg, const struct store_refusal *refusal, struct err *err),
		       void *arg, struct err *err);

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

/* The snapshot is corrupt: it is not the current one any more, nor will it be again. Its row stays
 * until store_release(), since the kernel may hold its node. Durable. */
int store_drop(struct store *store, const struct snapshot *snapshot, struct err *err);

/* The kernel no longer holds the node of this superseded snapshot: it may be deleted, when no
 * longer among the `history` last ones. */
void store_release(struct store *store, const struct snapshot *snapshot);

/* Number of snapshots in the catalog and their bytes, for statfs and metrics. From memory. */
void store_usage(struct store *store, uint64_t *ret_snapshots, uint64_t *ret_bytes);

#endif
