/*
 * child: the processes that the keeper starts.
 *
 * Each of them executes rptfs again. A child that is started with an identity is that user before
 * the first instruction of the program runs. It has no capabilities, except for CAP_SYS_ADMIN of an
 * isolated one, which drops it as soon as it has a root of its own (worker/sandbox.h).
 *
 * Runs in the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_CHILD_H
#define KEEPER_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

#define CHILD_GROUPS_MAX 64

struct child_identity {
	bool is_set; /* false: that of the keeper */
	uid_t user;
	gid_t group;
	int n_groups;
	gid_t groups[CHILD_GROUPS_MAX];
};

struct child_start {
	int program;			       /* borrowed; opened with O_PATH */
	char *const *argv;		       /* borrowed */
	const struct child_identity *identity; /* borrowed; NULL: that of the keeper */
	int inherited[2];		       /* descriptors that stay open; -1: none */
	bool is_isolated; /* in a PID namespace, and with CAP_SYS_ADMIN to change its root */
	int errors;	  /* its standard error; -1: that of the keeper */
};

/* Returns the pid, or -1. */
pid_t child_start(const struct child_start *start, struct err *err);

/* Executes the program in this process. Returns only on failure, -1. */
int child_exec(int program, char *const *argv, struct err *err);

/* A program that this process executes from now on inherits the standard streams and these
 * descriptors (-1: none), and no others. */
int child_inherits(const int *fds, size_t n, struct err *err);

/* How a process ended, as text: "exit code 1", "signal 11 (Segmentation fault)". Returns ret. */
#define CHILD_END_SIZE 64
const char *child_end(int wait_status, char ret[CHILD_END_SIZE]);

#endif
