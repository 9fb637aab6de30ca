/*
 * helper: the process that opens files and runs programs for the worker.
 *
 * A compromised worker gains no more than this: the helper loads the configuration itself, compares
 * paths with those in it, byte by byte, and finds the command lines of programs there. The struct
 * helper_uses of a type of sources lists its other needs. Paths are walked by base/safe_path.h,
 * because other users may own a part of the way.
 *
 * The helper is not confined, because the needs of the programs are unknown. It reads no data from
 * the network, and no files except those of AWS profiles.
 *
 * Runs in the helper, with the rights of the user who started rptfs.
 */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

#include "config/config.h"

/* Requests at a time; more fail with ERR_BUSY. */
#define HELPER_PROGRAMS_MAX 16
#define HELPER_FILES_MAX    512 /* more than the worker has threads */

struct helper_setup {
	int socket;				/* owned; helper_protocol.h */
	const struct config *config;		/* borrowed: the options that name files */
	const struct source_type *const *types; /* NULL-terminated: their struct helper_uses */
};

/* Serves until the worker closes the socket. Returns the exit code. */
int helper_serve(const struct helper_setup *setup);

#endif
