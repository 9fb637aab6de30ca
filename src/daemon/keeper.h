/*
 * keeper: the process that holds what must not die with the worker: the mount and its device.
 *
 * It parses nothing and talks to nobody but its worker, which it starts by executing this program
 * again. It mounts when the worker is prepared, passes the device on, and unmounts at the end.
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
	/* argv of the worker; *channel_argument is where the number of its end of the channel is
	 * printed (KEEPER_CHANNEL_SIZE bytes). */
	char **worker_argv;
	char *channel_argument;
	int ready_fd; /* owned; gets the exit code as one byte when it is known; -1: foreground */
};

#define KEEPER_CHANNEL_SIZE 12

/* Runs until SIGTERM, SIGINT, unmount, or the worker's death. Returns the exit code. */
int keeper_run(const struct keeper_setup *setup);

#endif
