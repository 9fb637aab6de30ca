/*
 * opener: opens, looks at and watches configured files for the worker.
 *
 * It compares paths with those in the configuration, byte by byte. What else the sources of a type
 * need is in struct helper_uses of that type. Paths are walked by base/safe_path.h, because other
 * users may own a part of the way.
 *
 * Runs in the opener (rptfs-helper), as the user who started rptfs, of whose rights it keeps
 * CAP_DAC_READ_SEARCH and the system calls that this takes (worker/sandbox.h).
 */
#ifndef HELPER_OPENER_H
#define HELPER_OPENER_H

#include "base/err.h"
#include "config/config.h"

struct helper_request;

/* Before the first request. The arguments are borrowed for the life of the process. */
int opener_begin(const struct config *config, const struct source_type *const *types,
		 struct err *err);

/* Answers a request, unless it returns -1. From any thread. */
int opener_serve(const struct helper_request *request, struct err *err);

#endif
