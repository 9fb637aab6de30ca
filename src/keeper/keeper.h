/*
 * keeper: the process that holds everything that must outlive a worker: the mount, the FUSE
 * connection, the requests in flight, the effective configuration, the control socket.
 *
 * It parses nothing, communicates with its worker only, and allocates nothing after the start. When
 * a worker dies or stops responding, the keeper starts another one on the same mount.
 *
 * Runs in the keeper, with the rights of the user who started rptfs. One thread.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/build.h"
#include "base/helper.h"
#include "keeper/child.h"

#define KEEPER_OK	    0
#define KEEPER_FAILED	    1
#define KEEPER_ABORTED	    2 /* the connection, while it was mounted */
#define KEEPER_MOUNT_FAILED 32

/* Raise it with every change of struct keeper_state. */
#define KEEPER_STATE_VERSION 6

/*
 * The whole state of a keeper, as plain data. It owns the descriptors. In an upgrade the keeper
 * passes both to the program that replaces it.
 */
struct keeper_state {
	uint32_t version;
	uint32_t size_bytes;

	char mountpoint[PATH_MAX];
	char control_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char memory_dir[PATH_MAX]; /* of a store in memory that has a name; else "" */
	char program[PATH_MAX];	   /* the program that an upgrade executes */
	bool allow_other;
	bool noexec;
	bool is_confined; /* workers enter the sandbox */
	bool renames;	  /* publish by rename(2) where possible */
	bool is_debugged; /* workers may be stopped for any time */
	bool is_detached; /* from the terminal */
	struct child_identity worker_identity;

	int config;    /* the effective configuration, a sealed memfd */
	int store;     /* the store's directory */
	int machine;   /* keeper/machine_namespace.h; -1: none */
	int control;   /* the listening socket */
	int place;     /* the directory beneath the mount, which is locked; -1: unknown */
	int user_lock; /* of a worker's user without a name; -1: none */
	int inflight;  /* mount/connection/inflight.h */
	int device;    /* the FUSE connection; -1: not mounted */
	int handle;    /* of the mount, for visitors; -1: none */
	int exe;       /* O_PATH: this program */
	dev_t number;  /* device number of the mount; 0: not mounted */

	pid_t worker;		     /* 0: none */
	int channel;		     /* to the worker; -1: the worker has closed its end */
	pid_t helpers[HELPER_ROLES]; /* of this worker; 0: none */
	pid_t visitor;		     /* of this worker; 0: none */
	unsigned restarts;	     /* workers that died on this mount */

	/* An upgrade whose last step is to start this keeper. */
	bool is_upgrade;
	int asker; /* the connection of `rpt upgrade`; -1: none */
	char previous[BUILD_VERSION_SIZE];
};

/* Command lines, each NULL-terminated. *descriptors (KEEPER_DESCRIPTORS_SIZE bytes) is an argument
 * of all of them; the keeper prints the numbers of inherited descriptors there. */
struct keeper_commands {
	char *const *worker;
	char *const *helpers[HELPER_ROLES];
	char *const *visitor;
	char *const *render;
	char *const *keeper;
	char *descriptors;
};

#define KEEPER_DESCRIPTORS_SIZE 24

/* Runs until SIGTERM, SIGINT or unmount. Takes ownership of the descriptors in the state. ready_fd
 * (owned; -1: in the foreground) gets the exit code as one byte once it is known. Calls
 * started(arg) once, when the first worker is running, for slow tasks that nothing depends on.
 * Returns the exit code. */
int keeper_run(struct keeper_state *state, const struct keeper_commands *commands, int ready_fd,
	       void (*started)(void *arg), void *arg);

/* Identifies the layout of struct keeper_state of this program. Returns ret. */
#define KEEPER_KIND_SIZE 32
const char *keeper_kind(char ret[KEEPER_KIND_SIZE]);

/* In a keeper that another one has executed: reads the state from a descriptor (owned). Returns
 * false if it has another layout. */
bool keeper_inherit(int fd, struct keeper_state *ret);

#endif
