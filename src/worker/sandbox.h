/*
 * sandbox: what a worker that was taken over cannot do.
 *
 * Entered before the first byte from outside is looked at, in three layers, each of which is of use
 * without the others:
 *
 *	capabilities  none in any set, and none to be gained by executing (no_new_privs)
 *	seccomp       the system calls of a network program that neither starts programs nor
 *	              changes who it is; see sandbox_seccomp.c for what the others are told
 *	Landlock      all rights below the store's directory; reading where name resolution,
 *	              certificates and libraries are; no other file, no TCP port to listen on, no
 *	              signal and no abstract socket to whoever is outside
 *
 * What the configuration names elsewhere comes from the helper (base/files.h). Descriptors that
 * are open already keep the rights that they were opened with. Sockets with a name in the file
 * system can be connected to as far as their permissions allow: name services and the log need
 *that.
 *
 * A kernel without seccomp or Landlock gives what it has, and the log says what is missing.
 */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "base/err.h"

struct sandbox_setup {
	int store_fd; /* borrowed: the store's directory */
};

/* For the calling thread and those it starts, so before there are any; for good. -1 only where
 * going on would be wrong: rights that could not be given up. */
int sandbox_enter(const struct sandbox_setup *setup, struct err *err);

/* The same for a visitor, which has no use for more than walking a mount, and removing and renaming
 * there. */
int sandbox_enter_visitor(struct err *err);

/* ---- sandbox_landlock.c, sandbox_seccomp.c ---- */

/* 1: the kernel has it not, *err says what is missing. no_new_privs is set. */
int sandbox_restrict_files(int store_fd, struct err *err);
int sandbox_restrict_calls(struct err *err);
int sandbox_restrict_visitor(struct err *err);

#endif
