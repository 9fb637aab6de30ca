/*
 * process: how the keeper starts the others.
 *
 * Each of them is this program again. Whoever is started with an identity has it, and nothing of
 * root's, before the first instruction of the program runs.
 */
#ifndef KEEPER_PROCESS_H
#define KEEPER_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define PROCESS_GROUPS_MAX 64

struct process_identity {
	bool is_set; /* else the keeper's own */
	uid_t user;
	gid_t group;
	int n_groups;
	gid_t groups[PROCESS_GROUPS_MAX];
};

struct process_start {
	int program;				 /* borrowed; opened with O_PATH */
	char *const *argv;			 /* borrowed */
	const struct process_identity *identity; /* borrowed; NULL: the keeper's own */
	int inherited[2]; /* descriptors that stay open, -1: none; all others are close-on-exec */
	int errors;	  /* becomes its standard error; -1: the keeper's */
};

/* Its pid, or -1. */
pid_t process_start(const struct process_start *start, struct err *err);

/* This process keeps no rights of root's but those that it needs to mount, to start processes as
 * another user, and to end them. Processes that it starts as root have all of them again. */
int process_limit_rights(struct err *err);

/* Executes the program in this very process; returns only if that fails. */
int process_become(int program, char *const *argv, struct err *err);

/* How a process ended, for people: "exit code 1", "signal 11 (Segmentation fault)". */
#define PROCESS_END_SIZE 64
const char *process_end(int wait_status, char ret[PROCESS_END_SIZE]);

#endif
