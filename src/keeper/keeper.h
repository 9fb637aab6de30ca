/*
 * keeper: the process that holds what must not die with the worker: the mount, its device, the
 * requests that were taken and not answered, the configuration in effect, the control socket.
 *
 * It parses nothing and talks to nobody but its worker, and allocates nothing. A worker that dies,
 * or gives no sign of life, is followed by another one on the same mount.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/build.h"
#include "keeper/process.h"

#define KEEPER_OK	    0
#define KEEPER_FAILED	    1
#define KEEPER_MOUNT_FAILED 32

/* To be raised with every change of struct keeper_state. */
#define KEEPER_STATE_VERSION 2

/*
 * All that a keeper has to know, as plain data: a keeper that replaces itself hands it to its
 * successor, with the descriptors, which are owned.
 */
struct keeper_state {
	uint32_t version;
	uint32_t size_bytes;

	char mountpoint[PATH_MAX];
	char control_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char memory_dir[PATH_MAX]; /* of a store in memory that has a name; else "" */
	char program[PATH_MAX];	   /* what an upgrade executes */
	bool allow_other;
	bool is_confined; /* workers enter the sandbox */
	bool renames;	  /* names are to move by rename(2), where that is possible */
	bool is_debugged; /* workers may be held up for ever */
	bool is_detached; /* from the terminal */
	struct process_identity worker_identity;

	int config;   /* the effective configuration, a sealed memfd */
	int store;    /* the store's directory */
	int control;  /* the listening socket */
	int lock;     /* of the mountpoint; -1: none */
	int slots;    /* mount/connection/slots.h */
	int device;   /* the connection; -1: not mounted */
	int handle;   /* of the mount, for visitors; -1: none */
	int exe;      /* O_PATH: this program */
	dev_t number; /* of the mount; 0: not mounted */

	pid_t worker;	   /* 0: none */
	int channel;	   /* to it; -1: it has closed its end */
	pid_t helper;	   /* that it asked for; 0: none */
	pid_t visitor;	   /* likewise */
	unsigned restarts; /* workers that died on this mount */

	/* An upgrade that this keeper is the last step of. */
	bool is_upgrade;
	int asker; /* the connection that is waiting for it; -1: none */
	char previous[BUILD_VERSION_SIZE];
};

/* Command lines, each NULL-terminated; *descriptors (KEEPER_DESCRIPTORS_SIZE bytes), an element of
 * all of them, is where the numbers of inherited descriptors are printed. */
struct keeper_commands {
	char *const *worker;
	char *const *helper;
	char *const *visitor;
	char *const *render;
	char *const *keeper;
	char *descriptors;
};

#define KEEPER_DESCRIPTORS_SIZE 24

/* Runs until SIGTERM, SIGINT or unmount. Takes what the state owns. ready_fd (owned; -1: in the
 * foreground) gets the exit code as one byte when it is known. started(arg) is called once, when
 * the first worker is at work: for what takes time and nobody waits for. Returns the exit code. */
int keeper_run(struct keeper_state *state, const struct keeper_commands *commands, int ready_fd,
	       void (*started)(void *arg), void *arg);

/* Whose state a keeper of this program can inherit, as a text. */
#define KEEPER_KIND_SIZE 32
const char *keeper_kind(char ret[KEEPER_KIND_SIZE]);

/* In a keeper that was executed by its predecessor: reads the state from a descriptor (owned).
 * False if it is of another version. */
bool keeper_inherit(int fd, struct keeper_state *ret);

#endif
