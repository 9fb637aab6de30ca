/*
 * store_state: declarations that the files of the store share.
 *
 * The catalog has one connection, which is not locked. A thread that needs it queues a job. The
 * first in the queue becomes the leader, takes all jobs that are queued, and runs them in one
 * transaction with one round of fsyncs. Then the next in the queue leads. Fields marked "leader"
 * belong to the thread that leads; see store_queue.c.
 *
 * Each section below is a file. A file calls only files of sections above it.
 */
#ifndef STORE_STORE_STATE_H
#define STORE_STORE_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/util.h"
#include "store/catalog.h"
#include "store/store.h"

#define STORE_SHARDS	256
#define STORE_PATH_SIZE 48 /* of a file's path below snapshots/ */

enum job_kind {
	JOB_READS,
	JOB_WRITES,  /* survives kill -9, but not always a power cut */
	JOB_DURABLE, /* survives a power cut */
};

struct job {
	enum job_kind kind;
	/* Runs before the transaction; may be NULL. */
	int (*prepare)(struct store *store, struct job *job, struct err *err);
	/* Runs in the transaction; JOB_READS runs outside. Is called again if the shared
	 * transaction fails: each job then gets a transaction of its own. Adds the files of rows
	 * that it deletes to store->deleted. */
	int (*run)(struct store *store, struct job *job, struct err *err);
	/* Runs after the transaction; may be NULL. */
	void (*committed)(struct store *store, struct job *job);
	/* Set by prepare(): the id of the file that it linked, whose directory needs an fsync. The
	 * file is deleted if the job fails. */
	uint64_t linked_id;

	/* The rest belongs to the queue. */
	struct job *next;
	struct err *err;
	pthread_cond_t wake;
	bool done;	  /* guarded by lock */
	bool is_hopeless; /* leader: failed before the transaction */
	bool is_in_doubt; /* leader: its commit failed, but the next opening may find it done */
	int result;	  /* leader, until done */
};

/* A file that could not be deleted. */
struct undeleted {
	struct undeleted *next; /* owned */
	char path[];		/* below snapshots/ */
};

struct store {
	char *dir; /* owned; for messages */
	bool in_memory;
	uint64_t first_id;	/* smaller ids were allocated by previous openings */
	int dir_fd;		/* owned */
	int lock_fd;		/* owned; flock(2)ed */
	int snapshots_fd;	/* owned */
	atomic_bool no_tmpfile; /* the file system does not support O_TMPFILE */
	atomic_uint n_writers;	/* so far; for the names of temporary files */
	atomic_uint_fast64_t n_snapshots;
	atomic_uint_fast64_t n_bytes;

	struct catalog *catalog;       /* owned; leader */
	struct catalog_files deleted;  /* leader; their rows are deleted, the files not yet */
	struct catalog_files in_doubt; /* leader; linked by jobs in doubt */
	bool is_settled; /* leader; a durable transaction has overwritten those in doubt */

	pthread_mutex_t lock;
	bool has_leader;	       /* guarded by lock */
	struct job *queue;	       /* guarded by lock */
	struct job **queue_end;	       /* guarded by lock */
	struct catalog_files released; /* guarded by lock; for the next job that writes */
	struct undeleted *undeleted;   /* guarded by lock; owned; for the next leader */
	unsigned n_undeleted;	       /* guarded by lock */
};

/* store_file.c */

static inline unsigned store_shard(uint64_t id)
{
	return (id / STORE_SHARDS) % STORE_SHARDS;
}

const char *store_path(uint64_t id, char ret[STORE_PATH_SIZE]);
bool store_is_shard(const char *name);
/* The id of the snapshot whose file is SHARD/NAME, or 0. */
uint64_t store_parse_id(const char *shard, const char *name);
/* The path of this opening's n-th temporary file. */
const char *store_temporary_path(const struct store *store, unsigned n, char ret[STORE_PATH_SIZE]);
/* Whether it is the name of a temporary file of a previous opening. */
bool store_is_old_temporary(const struct store *store, const char *name);

/* Returns whether this directory of the store was deleted, and then reports that. Keeps errno. */
bool store_report_deleted(const struct store *store, int directory, struct err *err);
/* Makes the directory of a snapshot's path, durably. Returns -1 with errno. */
int store_make_shard(struct store *store, const char *path);
int store_sync_shard(struct store *store, uint64_t id, struct err *err);
/* Returns a descriptor of the snapshot's file, or -1 with errno. */
int store_open_file(struct store *store, uint64_t id);
/* Deletes a file below snapshots/. Returns false, with errno, if it is still there. */
bool store_delete_path(struct store *store, const char *path);

/* store_queue.c */

/* Runs one job. Returns 0, or -1 with *err, which is the job's own. Blocks on the disk. */
int store_run(struct store *store, struct job *job, struct err *err);
/* Deletes a file below snapshots/. On failure, logs it, returns false, and later leaders try
 * again. */
bool store_delete_file(struct store *store, const char *path);
/* Takes the list of the snapshots whose rows the last transaction has deleted, and stops counting
 * them; deletes the files of a list, and releases it. */
struct catalog_files store_take_deleted(struct store *store);
void store_delete_files(struct store *store, struct catalog_files *files);

/* store_reconcile.c */

/* Makes files and catalog of a store that was just opened consistent. No other thread may use the
 * store yet. */
int store_reconcile(struct store *store, struct err *err);

/* store_set_aside.c */

/* Moves the catalog, which must be closed, to aside-TIME/; with_snapshots: snapshots/ too. Keeps
 * the last two such directories. */
int store_set_aside(struct store *store, bool with_snapshots, const char *reason, struct err *err);
/* Returns whether there is such a directory, and the largest snapshot id in any; 0: none. */
bool store_has_aside(struct store *store, uint64_t *ret_last_id);

/* store_writer.c */

int store_writer_sync(struct store_writer *writer, struct err *err);
/* Gives the file its final name. */
int store_writer_link(struct store_writer *writer, uint64_t id, struct err *err);
const uint8_t *store_writer_sha256(const struct store_writer *writer);

#endif
