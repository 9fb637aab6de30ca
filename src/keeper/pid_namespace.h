/*
 * pid_namespace: a PID namespace for one child of the keeper.
 *
 * The child is not the first process of its namespace. The first one cannot end before all others,
 * and a notifier may be unable to end until the next worker answers (mount/connection/notifier.h).
 * Nor do signals that it does not handle end it, not even that of abort(3). So the first process is
 * another child of the keeper, rptfs-init. It ends when the worker has ended, and the kernel then
 * kills what is left in the namespace.
 *
 * Runs in the keeper, with the rights of the user who started rptfs, and in rptfs-init, as the
 * worker's user. rptfs-init executes this program again: a copy of the keeper's memory could hold
 * secrets of the configuration.
 */
#ifndef KEEPER_PID_NAMESPACE_H
#define KEEPER_PID_NAMESPACE_H

#include "base/err.h"

struct pid_namespace {
	int own;  /* owned; the namespace of the keeper; -1: it has entered no other */
	int hold; /* owned; rptfs-init ends when the last copy is closed */
};

#define PID_NAMESPACE_NONE            \
	{                             \
		.own = -1, .hold = -1 \
	}

/* Children that are forked from now on are in a new namespace; they keep `hold` open until they
 * end. exec_init(arg, held) runs in the first of them: it executes a program that calls
 * pid_namespace_init(held). */
int pid_namespace_enter(struct pid_namespace *ret,
			int (*exec_init)(const void *arg, int held, struct err *err),
			const void *arg, struct err *err);

/* In the keeper: children are in its own namespace again. */
void pid_namespace_leave(struct pid_namespace *ns);

/* rptfs-init. held: the reading end of `hold`. */
__attribute__((noreturn)) void pid_namespace_init(int held);

#endif
