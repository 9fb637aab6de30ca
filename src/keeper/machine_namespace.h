/*
 * machine_namespace: the mount namespace in which programs see the mount.
 *
 * A service may have a mount namespace of its own, such as one in which /usr is read-only. A mount
 * that is made there is seen by nobody else. So the unit runs a command before the keeper, with all
 * rights (machine_namespace_offer()). It leaves a descriptor of the service manager's namespace,
 * which is the machine's, in the descriptor store. The keeper is in that namespace only while it
 * looks for, makes, changes or removes its mount. The processes that it starts never are.
 *
 * Without such a descriptor the keeper's own namespace is the machine's, and nothing is entered.
 *
 * Runs in the keeper, and in the command before it becomes the keeper, with CAP_SYS_ADMIN and
 * CAP_SYS_CHROOT. One thread: the kernel changes the namespace of no process with more.
 */
#ifndef KEEPER_MACHINE_NAMESPACE_H
#define KEEPER_MACHINE_NAMESPACE_H

#include <stdbool.h>

#include "base/err.h"

/* Where to return to; owned; -1: nothing was entered. */
struct machine_visit {
	int own; /* the namespace */
	int root;
	int directory; /* the working directory */
};

#define MACHINE_VISIT_NONE                              \
	{                                               \
		.own = -1, .root = -1, .directory = -1, \
	}

/* The namespace to enter from now on; borrowed; -1: none. */
void machine_namespace_use(int machine);
/* Returns whether it is another one than that of this process. */
bool machine_namespace_is_other(void);

/* Enters it. The root and the working directory of this process are its root then. Without another
 * namespace to enter, it succeeds and does nothing. */
int machine_namespace_enter(struct machine_visit *ret, struct err *err);
/* Also restores the root and the working directory. Ends the process if that fails: what it starts
 * must not be in the machine's namespace. The service manager keeps the mount meanwhile. */
void machine_namespace_leave(struct machine_visit *visit);

/* In the command of the unit: stores a descriptor of the service manager's namespace. */
int machine_namespace_offer(struct err *err);

#endif
