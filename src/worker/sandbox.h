/*
 * sandbox: limits what a compromised worker, visitor or opener can do.
 *
 * A worker or visitor enters it before it reads any data from outside. Each of its layers works
 * without the others:
 *
 *	namespaces    of a worker that root's keeper started: mount, with a root that has little
 *	              more than /etc and /usr; IPC; and PID, in which the keeper has started it
 *	capabilities  none in any set but CAP_DAC_READ_SEARCH of an opener, and executing a
 *	              program gains none (no_new_privs)
 *	seccomp       for a worker, the system calls of a network program that starts no programs
 *	              and does not change its user; fewer for the others. sandbox_seccomp.c lists
 *	              the errors of the rest. New files give no rights to others
 *	memory        none is both writable and executable; of an opener since Linux 6.3
 *	Landlock      of a worker: all rights below the store's directory; reading where name resolution,
 *	              certificates and libraries are; no other file, no TCP port to listen on, no
 *	              signal and no abstract socket to processes outside
 *
 * Files and sockets that the configuration names are found by the helper (base/files.h).
 * Descriptors that are open already keep their rights. Without a root of its own, a worker can
 * connect to any named Unix socket whose permissions allow it.
 *
 * Root's worker also has the store through a mount of its own, from which nothing can be executed
 * (keeper/store_directory.h). A layer that the kernel lacks is left out, and logged.
 *
 * Runs in the worker, unprivileged, and in the visitor and the opener, with the rights of the user
 * who started rptfs until they have entered.
 */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "base/err.h"

/* For a worker of root's mount: gives it a root of its own, for which it needs CAP_SYS_ADMIN, and
 * drops all capabilities. Call it while the process has one thread. -1 if it cannot continue. */
int sandbox_isolate(struct err *err);

/* Confines the calling thread and all threads that it starts, permanently. Call it while the
 * process has one thread. store_fd: the store's directory (borrowed). -1 only if rights could not
 * be dropped. */
int sandbox_enter(int store_fd, struct err *err);

/* For an opener: keeps CAP_DAC_READ_SEARCH, and drops all other capabilities. */
int sandbox_enter_opener(struct err *err);
/* Then, once it has loaded its configuration: only the system calls that find, open and watch files
 * without changing any. */
void sandbox_confine_opener(void);

/* For a visitor, which only walks the mount, and removes and renames there. */
int sandbox_enter_visitor(struct err *err);

/* ---- sandbox_root.c, sandbox_landlock.c, sandbox_seccomp.c ---- */

/* Return 1 if the kernel lacks the layer; *err then says what is missing. no_new_privs must be
 * set. */
int sandbox_leave_ipc(struct err *err);
int sandbox_change_root(struct err *err); /* -1: it cannot continue */
int sandbox_restrict_files(int store_fd, struct err *err);
int sandbox_restrict_calls(struct err *err);
int sandbox_restrict_visitor(struct err *err);
int sandbox_restrict_opener(struct err *err);

#endif
