/*
 * visitor: a process that accesses the mount like a user.
 *
 * A process must not make blocking calls on a mount that it serves: if it is killed during the
 * call, the call keeps it from ending, and no process is left to answer it. So the visitor acts for
 * the worker: it stats names, so that the kernel knows their nodes before a reader asks, and it
 * moves names.
 *
 * With a writable handle of the mount, which only the visitor and the keeper have, it renames and
 * removes names. Without one (a mount without privileges) it can only stat and list, and opens the
 * mount point for each request, because an open descriptor would prevent unmounting.
 *
 * It does not trust the worker, which may be compromised and answers the kernel's requests for the
 * mount. It follows no link, enters no other mount, and opens nothing but directories.
 */
#ifndef MOUNT_VISITOR_VISITOR_H
#define MOUNT_VISITOR_VISITOR_H

#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

struct visitor;

/* About 400,000 entries. A listing takes 0.1 s for each 20,000, so it ends well before the worker
 * gives up on the visitor. Publishing waits no longer than that. */
#define VISITOR_LIST_MAX_BYTES (16U << 20)

/* ---- the worker's side ---- */

/* start(arg, socket) starts a process that serves the socket (borrowed); -1 if that is impossible.
 * It is called for the first request, and again after the process has died, but not in a loop. */
int visitor_new(struct visitor **ret, int (*start)(void *arg, int socket), void *arg,
		struct err *err);
/* Ends the process and starts no other, so that the worker does not keep the mount busy. */
void visitor_retire(struct visitor *visitor);
/* Ends the process. NULL is allowed. */
void visitor_free(struct visitor *visitor);

DEFINE_CLEANUP(struct visitor, visitor_free)

/*
 * From one thread at a time; requests must be answered meanwhile. Paths are relative to the mount's
 * root. Each returns 0 or a negative errno: -ENOTCONN if there is no visitor, -ETIMEDOUT if it did
 * not answer (it may still do the work), -EROFS if it has no writable handle, -ENODEV if the mount
 * is gone.
 */
int visitor_look(struct visitor *visitor, const char *path);
/* Renames `from` over `to`, then stats that. */
int visitor_move(struct visitor *visitor, const char *from, const char *to);
int visitor_remove(struct visitor *visitor, const char *path);
/* -EBUSY: something else is mounted over the path, in the namespace of mounts of rptfs. 0 also if
 * that cannot be found out. */
int visitor_check(struct visitor *visitor, const char *path);
/* Lists the directory, so that the kernel learns the nodes of its names from READDIRPLUS instead of
 * looking up each one. Stops after VISITOR_LIST_MAX_BYTES of entries. */
int visitor_list(struct visitor *visitor, const char *path);

/* ---- the visitor's process ---- */

/* A value of `root`: there is no mount, and all requests fail. */
#define VISITOR_NO_MOUNT (-2)

/* Serves the socket (owned) until its other end is closed; returns the exit code. root: a writable
 * handle of the mount (owned), or -1: the mount is at that path (borrowed), or VISITOR_NO_MOUNT.
 * The caller has given up all rights but those for this. */
int visitor_serve(int socket, int root, const char *mountpoint);

#endif
