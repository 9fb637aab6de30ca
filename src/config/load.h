/*
 * load: the configuration from files and the command line.
 *
 * Loading reports every problem that it finds, each with its place, before it gives up. A
 * configuration with a problem is not returned at all.
 */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include <stdio.h>

#include "config/config.h"

/* The settings from the command line. Each pointer may be NULL; the others override the file. */
struct config_request {
	const char *file; /* an absolute path; NULL: no file */
	const char *mountpoint;
	const char *const *options;		/* "key=value" or "flag" of -o, NULL-terminated */
	const char *const *terms;		/* NAME=URL, NULL-terminated */
	const struct source_type *const *types; /* NULL-terminated: the fetchers there are */
	/* Checks a directory that the configuration names as the store; ERR_CONFIG. */
	int (*check_store)(const char *dir, struct err *err);
};

/*
 * Loads and checks, with the states of all sources. Each problem is written to `problems` as one
 * line, "FILE:LINE: term "x": …" or, about the command line, "rptfs: …". Returns 0, or -1 with at
 * least one line written.
 */
int config_load(struct config **ret, const struct config_request *request, FILE *problems);

#endif
