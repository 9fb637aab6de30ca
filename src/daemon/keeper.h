/*
 * keeper: the process that holds what must not die with the worker: the mount and its device.
 *
 * It parses nothing and talks to nobody but its worker, which it starts by executing this program
 * again. It mounts when the worker is prepared, passes the device on, starts a runner when the
 * worker needs one, and unmounts at the end.
 */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include <stdbool.h>

#define KEEPER_OK	    0
#define KEEPER_FAILED	    1
#define KEEPER_MOUNT_FAILED 32

struct keeper_setup {
	const char *mountpoint; /* absolute */
	bool allow_other;
	/* argv of the worker and of the runner; *descriptor_argument is where the number of the
	 * descriptor that it gets is printed (KEEPER_DESCRIPTOR_SIZE bytes). */
	char **worker_argv;
	char **runner_argv;
	char *descriptor_argument;
	int ready_fd; /* owned; gets the exit code as one byte when it is known; -1: foreground */
};

#define KEEPER_DESCRIPTOR_SIZE 12

/* Runs until SIGTERM, SIGINT, unmount, or the worker's death. Returns the exit code. */
int keeper_run(const struct keeper_setup *setup);

#endif
