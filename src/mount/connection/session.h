/*
 * session: the FUSE connection of this worker, over a device that another process mounted.
 *
 * Wraps a libfuse session whose reads and writes pass through our own hooks. The hooks receive each
 * request in a record that outlives this process (mount/connection/inflight.h), count it by opcode,
 * and make the reply to INIT independent of libfuse's version. libfuse's threads serve the
 * requests; a thread of ours starts them.
 *
 * Taking over: if the memfd holds a finished negotiation, INIT is replayed to libfuse. Its reply is
 * compared with the reply that the kernel has, and dropped. Then the requests that a predecessor
 * left are handed to libfuse's threads as if they had just been read, before any new request.
 *
 * After stopping, each request that was read is either answered or still in its record.
 */
#ifndef MOUNT_CONNECTION_SESSION_H
#define MOUNT_CONNECTION_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct fuse_conn_info;
struct fuse_lowlevel_ops;
struct notifier;
struct session;
struct inflight;

#define SESSION_NO_DEVICE (-1)

struct session_setup {
	const struct fuse_lowlevel_ops *ops; /* ops->init calls session_negotiate() */
	size_t ops_size;
	/* *userdata begins with a pointer to the session, which the caller stores there before
	 * session_replay() or session_start(). */
	void *userdata;
	int device; /* borrowed: a duplicate is made; or SESSION_NO_DEVICE, for a rehearsal */
	struct inflight *inflight; /* borrowed */
	struct notifier *notifier; /* borrowed; NULL for a rehearsal */
	bool debug;
};

int session_new(struct session **ret, const struct session_setup *setup, struct err *err);

/* For ops->init: requests features of the kernel. */
void session_negotiate(struct fuse_conn_info *conn);

/* Ends serving if necessary, then frees. No notification may be in progress. */
void session_free(struct session *session);

/* Repeats the negotiation of the predecessor without the kernel; does nothing if there was none.
 * ERR_BAD_DATA if the result differs: the message names the field and both values. Needs no device;
 * does nothing the second time. */
int session_replay(struct session *session, struct err *err);

/* Replays, then serves. */
int session_start(struct session *session, struct err *err);

/* Readable once serving has ended: unmounted, stopped or failed. */
int session_over_fd(const struct session *session);
/* The kernel has ended the connection. */
bool session_was_unmounted(const struct session *session);

/*
 * Notifications, for the publisher only. Each returns 0 or a negative errno: -ENOENT if the kernel
 * does not know the node or name.
 */
int session_notify_delete(struct session *session, uint64_t parent, uint64_t child,
			  const char *name);
/* Makes the kernel forget the name, and all names below it if it is a directory. */
int session_notify_inval_entry(struct session *session, uint64_t parent, const char *name);
int session_notify_inval_dir(struct session *session, uint64_t dir);
/* Returns when the kernel has processed all current replies to LOOKUP, READDIR and READDIRPLUS of
 * the directory. Requests must be answered meanwhile. */
void session_wait_for_dir(struct session *session, uint64_t dir);
int session_notify_inval_attributes(struct session *session, uint64_t id);
/* Stores bytes in the kernel's pages of a file that it knows: whole pages, or up to the end of the
 * file; or words of a page that may be missing. data: session_store_data(), or a few bytes. */
int session_notify_store(struct session *session, uint64_t id, uint64_t offset, const char *data,
			 size_t len);
/* A buffer of NOTIFIER_DATA_MAX bytes for session_notify_store(). */
char *session_store_data(struct session *session);
/* Does the kernel still know this node? */
bool session_kernel_holds(struct session *session, uint64_t id);

/* Calls each() with the number of requests of each operation that was received. */
void session_request_counts(struct session *session,
			    void (*each)(void *arg, const char *op, uint64_t count), void *arg);

#endif
