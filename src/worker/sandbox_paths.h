/*
 * sandbox_paths: files and directories that the environment names for OpenSSL, libc or a sanitizer.
 * A worker can read them in its sandbox.
 *
 * Runs in the worker. Internal to sandbox*.c.
 */
#ifndef WORKER_SANDBOX_PATHS_H
#define WORKER_SANDBOX_PATHS_H

#include <stdbool.h>

#include "base/err.h"

/* Calls visit() for each of them until it returns -1. They are absolute, and may be missing. */
int sandbox_paths_visit(int (*visit)(void *arg, const char *path, bool is_writable,
				     struct err *err),
			void *arg, struct err *err);

#endif
