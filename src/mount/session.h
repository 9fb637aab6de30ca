/*
 * session: the FUSE connection of this worker, over a device that somebody else mounted.
 *
 * Wraps a libfuse session whose reads and writes pass through hooks of our own: there requests are
 * counted by opcode, and the reply to INIT is completed with what libfuse leaves out. Serving runs
 * in libfuse's threads, started by one of ours.
 */
#ifndef MOUNT_SESSION_H
#define MOUNT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct fuse_conn_info;
struct fuse_lowlevel_ops;
struct session;

/* ops and userdata as for fuse_session_new(); *userdata begins with a pointer to the session, which
 * the caller stores there before session_start(); ops->init calls session_negotiate(). device is
 * borrowed: a duplicate is made. */
int session_new(struct session **ret, const struct fuse_lowlevel_ops *ops, size_t ops_size,
		void *userdata, int device, bool debug, struct err *err);

/* For ops->init: what is asked of the kernel. */
void session_negotiate(struct fuse_conn_info *conn);

/* Ends serving if it still runs, then frees. No notify may be under way. */
void session_free(struct session *session);

int session_start(struct session *session, struct err *err);

/* Readable once serving has ended: unmounted, or stopped. */
int session_over_fd(const struct session *session);

/* Waits until the threads have ended, which it makes them do. */
void session_stop(struct session *session);

/*
 * Told to the kernel by the publisher, and by nobody else. Each returns 0 or a negative errno:
 * -ENOENT when the kernel does not know the node or name.
 */
int session_notify_delete(struct session *session, uint64_t parent, uint64_t child,
			  const char *name);
int session_notify_inval_dir(struct session *session, uint64_t dir);
/* Does the kernel still hold this node? */
bool session_kernel_holds(struct session *session, uint64_t id);

/* How often each operation was received. */
void session_request_counts(struct session *session,
			    void (*each)(void *arg, const char *op, uint64_t count), void *arg);

#endif
