/*
 * visitor: a process of its own that walks the mount like a user.
 *
 * A process must make no blocking call on the mount that it serves: if it dies meanwhile, the call
 * keeps it from ending, and nobody is left to answer it. So the worker has the visitor look at
 * names, so that the kernel knows their nodes before a reader asks, and move them.
 *
 * With a handle of the mount that is writable, which only this process and the keeper have, it
 * renames and removes. Without one (a mount without privileges) it can look only, and opens the
 * mount point each time, for whoever keeps it open keeps it from being unmounted.
 *
 * It believes nothing: the worker may have been taken over, and answers what the kernel asks of the
 * mount. No link is followed, no other mount entered, and nothing is opened but directories.
 */
#ifndef MOUNT_VISITOR_VISITOR_H
#define MOUNT_VISITOR_VISITOR_H

#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

struct visitor;

/* About 1.5 million entries; 0.1 s for each 20,000 of them. */
#define VISITOR_LIST_MAX_BYTES (64U << 20)

/* ------------------------------------------------------------------ the worker's side */

/* start(arg, socket) has a process serve the socket (borrowed); -1 if that is impossible. It is
 * called again when the process has died, but not in a loop. Starts nothing yet. */
int visitor_new(struct visitor **ret, int (*start)(void *arg, int socket), void *arg,
		struct err *err);
/* The process ends, and no other is started: nothing that the worker has keeps the mount. */
void visitor_retire(struct visitor *visitor);
/* The process ends. NULL is allowed. */
void visitor_free(struct visitor *visitor);

DEFINE_CLEANUP(struct visitor, visitor_free)

/*
 * From one thread at a time; requests must be answered meanwhile. Paths are relative to the mount's
 * root. Each returns 0 or a negative errno: -ENOTCONN when there is no visitor, -ETIMEDOUT when it
 * did not answer (it may still do what it was told), -EROFS when it can look only, -ENODEV when the
 * mount is nowhere any more.
 */
int visitor_look(struct visitor *visitor, const char *path);
/* Moves it over the other name, then looks at that. */
int visitor_move(struct visitor *visitor, const char *from, const char *to);
int visitor_remove(struct visitor *visitor, const char *path);
/* Lists the directory, so that the kernel learns the nodes of its names from READDIRPLUS instead of
 * looking up each one. Stops after VISITOR_LIST_MAX_BYTES of entries. */
int visitor_list(struct visitor *visitor, const char *path);

/* ------------------------------------------------------------------ the process */

/* As a root: whatever it is asked, there is no mount. */
#define VISITOR_NO_MOUNT (-2)

/* Serves the socket (owned) until its other end is closed; returns the exit code. root: a writable
 * handle of the mount (owned), or -1: the mount is at that path (borrowed), or VISITOR_NO_MOUNT.
 * The caller has given up all rights but those for this. */
int visitor_serve(int socket, int root, const char *mountpoint);

#endif
