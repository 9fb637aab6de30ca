/*
 * configured_files: the files that options of sources name.
 *
 * Runs in the opener. Immutable, so any thread.
 */
#ifndef HELPER_CONFIGURED_FILES_H
#define HELPER_CONFIGURED_FILES_H

#include <stdbool.h>

#include "base/err.h"
#include "config/config.h"

struct configured_files;

/* The caller keeps *ret for the life of the process. */
int configured_files_new(struct configured_files **ret, const struct config *config,
			 struct err *err);

bool configured_files_have(const struct configured_files *files, const char *path);
/* Returns whether one of them is in this directory. directory: the path before its last slash, ""
 * for the root. */
bool configured_files_in(const struct configured_files *files, const char *directory);

#endif
