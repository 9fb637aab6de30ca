/*
 * store_internal: what the store's files share.
 *
 * The catalog has one connection and no lock: whoever has something to do there queues a job. The
 * thread that finds nobody at it becomes the leader, and takes along whatever has been queued: one
 * transaction, one round of fsyncs for all of it. Then it leaves; the next in the queue leads.
 * Fields that say "leader" are touched by the leading thread only.
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/util.h"
#include "store/catalog.h"
#include "store/store.h"

#define STORE_SHARDS	256
#define STORE_PATH_SIZE 32 /* of "XX/ID", below snapshots/ */

/* Of files that are being written where there is no O_TMPFILE: "new-LIFE-N", below snapshots/. */
#define STORE_TEMPORARY	     "new-"
#define STORE_TEMPORARY_SIZE 48

enum job_kind {
	JOB_READS,
	JOB_WRITES,  /* lasts over kill -9, but a power cut may undo it */
	JOB_DURABLE, /* nothing undoes it */
};

struct job {
	enum job_kind kind;
	/* Before the transaction; NULL: nothing to do. */
	int (*prepare)(struct store *store, struct job *job, struct err *err);
	/* In the transaction, but for JOB_READS. Called again if the shared transaction fails: each
	 * of its jobs then gets one of its own. What it deletes goes to store->deleted. */
	int (*run)(struct store *store, struct job *job, struct err *err);
	/* After the transaction; NULL: nothing to do. */
	void (*committed)(struct store *store, struct job *job);
	/* Set by prepare: the id of the file that was linked, whose directory needs a fsync. If the
	 * job fails the file is deleted. */
	uint64_t linked_id;

	/* Of the queue. */
	struct job *next;
	struct err *err;
	pthread_cond_t wake;
	bool done;	  /* guarded by store->lock */
	bool is_hopeless; /* leader: failed before the transaction */
	bool is_in_doubt; /* leader: failed, but who opens the catalog may find that it did not */
	int result;	  /* leader, until done */
};

struct store {
	char *dir; /* owned; for messages */
	bool in_memory;
	uint64_t first_id;	/* ids below are of predecessors */
	int dir_fd;		/* owned */
	int lock_fd;		/* owned; flock(2)ed */
	int snapshots_fd;	/* owned */
	atomic_bool no_tmpfile; /* the file system has no O_TMPFILE */
	atomic_uint n_writers;	/* so far; for the names of temporary files */
	atomic_uint_fast64_t n_snapshots;
	atomic_uint_fast64_t n_bytes;

	atomic_bool has_refused; /* tokens, of any term */

	struct catalog *catalog;       /* owned; leader */
	struct catalog_files deleted;  /* leader; rows are gone, files not yet */
	struct catalog_files doubtful; /* leader; of the last jobs that were in doubt */
	bool is_settled;	       /* leader; what was in doubt was written over, durably */

	pthread_mutex_t lock;
	bool has_leader;		/* guarded by lock */
	struct job *queue;		/* guarded by lock */
	struct job **queue_end;		/* guarded by lock */
	struct catalog_files released;	/* guarded by lock; the next that writes takes them */
	struct catalog_files lingering; /* guarded by lock; files to be deleted */
};

/* Performs one job: 0, or -1 with *err, which is the job's own. */
int store_run(struct store *store, struct job *job, struct err *err);

static inline unsigned store_shard(uint64_t id)
{
	return (id / STORE_SHARDS) % STORE_SHARDS;
}

/* Deletes what was released, unless somebody leads, who then will. */
void store_tidy(struct store *store);

const char *store_path(uint64_t id, char ret[STORE_PATH_SIZE]);
/* What cannot be deleted now lingers. */
void store_unlink(struct store *store, uint64_t id);

/* Brings files and catalog together; the first and only user of a store just opened. */
int store_sweep(struct store *store, struct err *err);

/* The id that the file XX/NAME below snapshots/ belongs to, or 0. */
uint64_t store_parse_id(const char *shard, const char *name);
bool store_is_shard(const char *name);
/* How the names of this opening's temporary files begin. */
const char *store_temporary_prefix(const struct store *store, char ret[STORE_TEMPORARY_SIZE]);

/* Calls each() with every name in a directory but . and .., until it returns -1. -1, with errno,
 * also if the directory cannot be read. No link is followed. */
int store_list_names(int parent_fd, const char *dir,
		     int (*each)(void *arg, int dir_fd, const char *name), void *arg);

/* Removes a directory and what is in it, on its own file system, following no link. */
void store_remove_tree(int parent_fd, const char *name);

/* Moves the catalog, which is not open, with_snapshots everything, to aside-TIME/, of which the
 * last two are kept. */
int store_set_aside(struct store *store, bool with_snapshots, const char *reason, struct err *err);
/* Whether something was set aside, and the largest id that a snapshot there has; 0: none. */
bool store_has_aside(struct store *store, uint64_t *ret_last_id);

/* Descriptor of the snapshot's file, or -1 with errno. */
int store_open_file(struct store *store, uint64_t id);

/* Makes sure of the written bytes: fsync. */
int store_writer_sync(struct store_writer *writer, struct err *err);
/* Gives the file its name. */
int store_writer_link(struct store_writer *writer, uint64_t id, struct err *err);
/* Makes XX/, durably: shards are made when the first snapshot needs them. -1 with errno. */
int store_make_shard(struct store *store, const char *path);
const uint8_t *store_writer_sha256(const struct store_writer *writer);

#endif
