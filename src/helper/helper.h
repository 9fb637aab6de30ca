/*
 * helper: the processes that do for the worker what it has no right to: the opener opens files, the
 * executor runs programs.
 *
 * Neither trusts the worker, which may be compromised. Each loads the configuration itself, and
 * does only what that names: opener.h and executor.h say how.
 *
 * Runs in the opener (rptfs-helper) and in the executor (rptfs-executor), whose rights are in their
 * headers.
 */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

#include "config/config.h"
#include "helper/helper_protocol.h"

/* Requests at a time; more fail with ERR_BUSY. */
#define HELPER_PROGRAMS_MAX 16
#define HELPER_FILES_MAX    512 /* more than the worker has threads */

struct helper_setup {
	enum helper_role role;
	int socket;				/* owned; helper_protocol.h */
	const struct config *config;		/* borrowed: the options that name files */
	const struct source_type *const *types; /* NULL-terminated: their struct helper_uses */
};

/* Prepares the process; call it while there is one thread. -1 if it has nothing to serve. */
int helper_begin(const struct helper_setup *setup, struct err *err);

/* Serves until the worker closes the socket. Returns the exit code. */
int helper_serve(const struct helper_setup *setup);

#endif
