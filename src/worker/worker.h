/*
 * worker: the process that serves, fetches and publishes. It may die at any time: all state that
 * must outlive it is in the store or held by the keeper.
 *
 * Runs in the worker, unprivileged.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>

#include "config/config.h"

struct worker_setup {
	/* Loads the effective configuration from a descriptor (borrowed). The helper opens files
	 * that this process cannot. */
	int (*load)(int fd, struct helper *helper, struct config **ret, struct err *err);
	int channel;		 /* owned; to the keeper */
	const char *keeper_kind; /* borrowed; keeper_kind() of this program */
	bool foreground;	 /* stay on the terminal */
	bool debug;
};

/* Runs until SIGTERM, a hand-over or unmount. Returns the exit code. */
int worker_run(const struct worker_setup *setup);

#endif
