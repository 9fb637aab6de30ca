/*
 * executor: runs programs for the worker.
 *
 * A request names an entry of a file, never a command line: the executor finds that itself, with
 * struct helper_program, and runs only what the configuration uses. It is not confined, because it
 * cannot know what a program needs. It exists only where a program is configured, from the first
 * request on.
 *
 * Runs in the executor (rptfs-executor), with all the rights of the user who started rptfs.
 */
#ifndef HELPER_EXECUTOR_H
#define HELPER_EXECUTOR_H

#include "base/err.h"
#include "config/source.h"

struct helper_request;

/* Before the first request. types are borrowed for the life of the process. ERR_DENIED if no
 * program is configured. */
int executor_begin(const struct source_type *const *types, struct err *err);

/* Answers a request, unless it returns -1. Blocks until the program has ended. From any thread. */
int executor_serve(const struct helper_request *request, struct err *err);

#endif
