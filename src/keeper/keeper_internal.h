/*
 * keeper_internal: declarations that the files of the keeper share.
 *
 * Each file may call those before it: keeper_mount.c, keeper_worker.c, keeper_upgrade.c, keeper.c.
 *
 * Runs in the keeper, with the rights of the user who started rptfs. One thread.
 */
#ifndef KEEPER_KEEPER_INTERNAL_H
#define KEEPER_KEEPER_INTERNAL_H

#include "keeper/channel.h"
#include "keeper/keeper.h"

#define NEVER INT64_MAX

/* The state of a worker. */
struct keeper_worker {
	pid_t pid;		     /* 0: none, or it is reaped */
	int channel;		     /* owned; -1: the worker has closed its end */
	int64_t alive_ms;	     /* last sign of life; clock_awake_ms() */
	int64_t serving_ms;	     /* when it began to answer requests; NEVER: not yet */
	pid_t helpers[HELPER_ROLES]; /* the last ones that it requested; 0: none */
	pid_t visitor;		     /* likewise */
	int exe, config;	     /* borrowed: the program and configuration that it runs */
	bool is_unmounted;	     /* it has reported the end of the connection */
	bool is_unfit;		     /* it cannot take over the mount */
	bool is_leaving;	     /* the keeper has sent HANDOVER */
	char reason[ERR_MSG_SIZE];   /* the reason that it gave for its end; else "" */
};

#define KEEPER_NO_WORKER                           \
	{                                          \
		.channel = -1, .serving_ms = NEVER \
	}

enum upgrade_step {
	UPGRADE_NONE,
	UPGRADE_RENDERING, /* the new program loads the configuration */
	UPGRADE_STANDBY,   /* its worker prepares beside the old one */
	UPGRADE_HANDOVER,  /* the old worker ends */
	UPGRADE_TAKEOVER,  /* the new worker starts to serve */
};

struct keeper_upgrade {
	enum upgrade_step step;
	int64_t deadline_ms; /* of the step; clock_awake_ms() */
	int asker;	     /* owned; the connection of `rpt upgrade`; -1: none */
	int exe, config;     /* owned: the new ones; in the last step the old ones */
	int errors;	     /* owned: standard error of the renderer */
	pid_t renderer;	     /* 0: none */
	struct keeper_worker standby;
	bool is_of_our_kind; /* the new program can read the state of this keeper */
};

#define KEEPER_NO_UPGRADE                                                                       \
	{                                                                                       \
		.asker = -1, .exe = -1, .config = -1, .errors = -1, .standby = KEEPER_NO_WORKER \
	}

struct keeper {
	struct keeper_state *state;
	const struct keeper_commands *commands;
	int signals;  /* owned: signalfd */
	int mounts;   /* owned: mountinfo of the machine's namespace */
	int ready_fd; /* owned; -1 once the outcome was reported */
	struct keeper_worker worker;
	pid_t helpers[HELPER_ROLES]; /* the latest of any worker; 0: none, or it has ended */
	int64_t checked_ms;	     /* when the worker was checked last; clock_awake_ms() */
	int64_t start_ms;	     /* when to start the next worker; NEVER: there is one */
	unsigned early_deaths;	     /* in a row */
	unsigned crashes;	     /* those of them that were faults of the program */
	bool set_aside;		     /* the next worker sets the store aside and begins a new one */
	bool was_ready;		     /* the start is over; from now on the mount is kept alive */
	bool is_detached;	     /* the mount is no longer attached anywhere */
	bool stopping;
	bool leaving; /* stopping, but the service manager keeps the mount */
	bool is_over;
	int code;
	struct keeper_upgrade upgrade;
};

/* ---- keeper_mount.c: the mount that the keeper holds ---- */

/* Makes the mount unless there is one, and stores it with the service manager. */
int keeper_mount(struct keeper *keeper, struct err *err);
/* Replaces the mount by one with a new connection. Open files of programs are lost. */
int keeper_mount_anew(struct keeper *keeper, struct err *err);
/* Continues with a mount that this keeper has inherited. */
void keeper_adopt_mount(struct keeper_state *state);
void keeper_close_handle(struct keeper *keeper);
/* Unmounts, and does not wait for programs that have files open. */
void keeper_unmount(const struct keeper_state *state);
/* Returns the machine's table of mounts, for mountpoint_is_mounted(); the caller's. */
int keeper_open_mounts(void);
/* Somebody has remounted the superblock read-only: names could not move by rename any more. The
 * mounts that programs see stay as they are. */
void keeper_restore_renames(struct keeper *keeper);

/* ---- keeper_worker.c: one worker process, its helpers and its visitor ---- */

/* Starts a worker of that program with that configuration, and sends it HELLO. */
int keeper_start_worker(struct keeper *keeper, struct keeper_worker *worker, int exe, int config,
			bool is_standby, struct err *err);
/* Start a process that serves the socket (borrowed; -1: the message had none). */
void keeper_start_helper(struct keeper *keeper, struct keeper_worker *worker, enum helper_role role,
			 int socket);
void keeper_start_visitor(struct keeper *keeper, struct keeper_worker *worker, int socket);
/* Releases the resources of a worker that was reaped. */
void keeper_forget_worker(struct keeper_worker *worker);
/* Returns how long to wait before starting the next worker, in ms, depending on how this one ended.
 * May request a new store. */
int64_t keeper_restart_delay(struct keeper *keeper, int wait_status);
void keeper_log_error(const char *event, const char *message);

/* ---- keeper_upgrade.c ---- */

/* Takes asker. */
void keeper_upgrade_begin(struct keeper *keeper, int asker);
/* Ends the upgrade; the old worker continues. */
void keeper_upgrade_refuse(struct keeper *keeper, const char *reason);
void keeper_upgrade_rendered(struct keeper *keeper, int wait_status);
bool keeper_upgrade_read_standby(struct keeper *keeper);
void keeper_upgrade_standby_died(struct keeper *keeper, int wait_status);
/* The old worker has ended. Returns true if that was part of an upgrade. */
bool keeper_upgrade_handed_over(struct keeper *keeper);
/* The new worker died or is unfit. If the keeper has not executed the new program yet, it goes back
 * to the old one, and the death is not counted otherwise. Returns false if there is no upgrade. */
bool keeper_upgrade_goes_back(struct keeper *keeper, int wait_status);
/* The new worker serves: the keeper executes the new program as well. */
void keeper_upgrade_finish(struct keeper *keeper);
/* In the new keeper: reports success. */
void keeper_upgrade_report(struct keeper *keeper);
/* Gives the step more time. */
void keeper_upgrade_extend(struct keeper *keeper, int64_t more_ms);
/* Acts on a step that takes too long. */
void keeper_upgrade_check_deadline(struct keeper *keeper);

#endif
