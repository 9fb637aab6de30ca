/*
 * publish_queue: the one thread that publishes snapshots and notifies the kernel, and its queue.
 *
 * mount/publish/publisher.h says what the thread does to a name. A notification or a rename takes
 * the lock of a directory, which an unanswered LOOKUP holds, so no FUSE handler may wait for this
 * thread. Handlers leave hints and continue.
 *
 *	publish    a name moves to a snapshot, or goes away
 *	forgotten  the kernel may have forgotten a superseded snapshot
 *	lost       the bytes turned out to be corrupt: the name goes away, the snapshot is dropped
 *	list       the visitor lists a directory
 *	take over  a predecessor may have died in the middle of any of these
 *	end        the mount is over
 */
#ifndef MOUNT_PUBLISH_PUBLISH_QUEUE_H
#define MOUNT_PUBLISH_PUBLISH_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mount/publish/publisher.h"

struct publish_queue;

struct publish_queue_setup {
	struct publisher_setup publisher;
	void (*lost)(void *arg, struct term *term);
	void *lost_arg;
};

/* Starts the thread. */
int publish_queue_new(struct publish_queue **ret, const struct publish_queue_setup *setup,
		      struct err *err);
/* Finishes the queued tasks, then ends the thread. The session must still be served, because a
 * notification may wait for the answer to a LOOKUP. Later hints are dropped. */
void publish_queue_stop(struct publish_queue *queue);
/* After publish_queue_stop(), when no handler runs any more. */
void publish_queue_free(struct publish_queue *queue);

/* Takes the reference `next` (NULL: the name goes away, which cannot fail). Blocks until the kernel
 * was notified. ERR_INTERNAL: out of memory, and the name points to what it pointed to. Does
 * nothing after publish_queue_stop(): the next start publishes what is in the store. */
int publish_queue_publish(struct publish_queue *queue, struct term *term, struct snapshot *next,
			  struct err *err);

/* Before anything is published. Does not block; requests must be answered meanwhile. attributes:
 * whether the kernel may have attributes that differ from the current ones. Takes the array
 * held_back. Calls done(arg) when the kernel is up to date. */
void publish_queue_take_over(struct publish_queue *queue, bool attributes,
			     struct publisher_held_back *held_back, size_t n_held_back,
			     void (*done)(void *arg), void *arg);
/* Blocks until that is finished, at most limit_ms. */
void publish_queue_wait_taken_over(struct publish_queue *queue, int64_t limit_ms);

/* Hints. They do not block, and take a reference to the snapshot of their own. */
void publish_queue_forgotten(struct publish_queue *queue, uint64_t id);
/* Many names of the directory are being looked up one by one: the visitor lists all of them. */
void publish_queue_list(struct publish_queue *queue, const struct tree_dir *dir);
void publish_queue_lost(struct publish_queue *queue, struct term *term, struct snapshot *snapshot);
/* The mount is over: says so in the generations. */
void publish_queue_announce_end(struct publish_queue *queue);

/* From any thread. */
const char *publish_queue_mode(const struct publish_queue *queue);
void publish_queue_counts(struct publish_queue *queue, struct publish_counts *ret);

#endif
