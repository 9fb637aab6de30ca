/*
 * worker: the process that serves, fetches and publishes. Its death is ordinary: what must outlive
 * it is in the store, or held by the keeper.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>

#include "config/config.h"

struct worker_setup {
	/* Loads the effective configuration from a descriptor (borrowed), and writes what is wrong
	 * with it to standard error. The helper opens what this process may not. */
	int (*load)(int fd, struct helper *helper, struct config **ret);
	int channel;		 /* owned; to the keeper */
	const char *keeper_kind; /* borrowed; keeper_kind() of this program */
	bool foreground;	 /* stay on the terminal once ready */
	bool debug;
};

/* Runs until it is told to end or the file system is unmounted. Returns the exit code. */
int worker_run(const struct worker_setup *setup);

#endif
