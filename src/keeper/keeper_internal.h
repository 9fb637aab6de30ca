/*
 * keeper_internal: what the keeper's files share. One thread.
 */
#ifndef KEEPER_KEEPER_INTERNAL_H
#define KEEPER_KEEPER_INTERNAL_H

#include "keeper/channel.h"
#include "keeper/keeper.h"

#define NEVER INT64_MAX

/* A worker, as the keeper sees it. */
struct keeper_worker {
	pid_t pid;		   /* 0: none */
	int channel;		   /* owned; -1: it has closed its end */
	int64_t alive_ms;	   /* its last sign of life; clock_awake_ms() */
	int64_t serving_ms;	   /* it answers requests since; NEVER: not yet */
	pid_t helper;		   /* that it asked for last; 0: none */
	pid_t visitor;		   /* likewise */
	int exe, config;	   /* borrowed: what it was started with */
	bool is_unmounted;	   /* there is nothing to serve any more */
	bool is_unfit;		   /* it cannot take the mount over */
	bool is_leaving;	   /* it was told to hand over */
	char reason[ERR_MSG_SIZE]; /* what it said of its end; else "" */
};

enum upgrade_step {
	UPGRADE_NONE,
	UPGRADE_RENDERING, /* the new program loads the configuration */
	UPGRADE_STANDBY,   /* its worker gets as far as it can */
	UPGRADE_HANDOVER,  /* the old worker ends */
	UPGRADE_TAKEOVER,  /* the new one serves soon */
};

struct keeper_upgrade {
	enum upgrade_step step;
	int64_t deadline_ms; /* of the step; clock_awake_ms() */
	int asker;	     /* owned; the connection that is waiting; -1: none */
	int exe, config;     /* owned: the new ones; in the last step those to go back to */
	int said;	     /* owned: what the rendering process writes to its standard error */
	pid_t renderer;	     /* 0: none */
	struct keeper_worker standby;
	bool is_of_our_kind; /* the new program's keeper can go on with our state */
};

struct keeper {
	struct keeper_state *state;
	const struct keeper_commands *commands;
	int signals;  /* owned: signalfd */
	int mounts;   /* owned: the kernel's table of them, which tells of changes */
	int ready_fd; /* owned; -1 once the outcome was told */
	struct keeper_worker worker;
	pid_t helper;	       /* the latest of any worker; 0: none, or it has ended */
	int64_t start_ms;      /* when the next worker is started; NEVER: there is one */
	unsigned early_deaths; /* in a row */
	unsigned crashes;      /* of those, by a fault in the program */
	bool set_aside;	       /* the next worker begins the store anew */
	bool was_ready;	       /* the start is over; from now on the mount is kept alive */
	bool is_detached;      /* the mount is nowhere to be found any more */
	bool stopping;
	bool leaving; /* stopping, but the mount is left to the service manager */
	bool is_over;
	int code;
	struct keeper_upgrade upgrade;
};

/* ---- keeper_worker.c: workers, their deaths and their messages ---- */

/* Starts one with what the keeper holds; exe and config: of the program and configuration that it
 * is to be. */
int keeper_start_worker(struct keeper *keeper, struct keeper_worker *worker, int exe, int config,
			bool is_standby, struct err *err);
/* Have a process started that talks over the socket (borrowed; -1: not given). */
void keeper_start_helper(struct keeper *keeper, struct keeper_worker *worker, int socket);
void keeper_start_visitor(struct keeper *keeper, struct keeper_worker *worker, int socket);
/* The handle that visitors have: opened where it can be; visitors have one of their own. */
void keeper_open_handle(struct keeper_state *state);
void keeper_close_handle(struct keeper *keeper);
/* The process has been reaped: what is kept of it is released. */
void keeper_forget_worker(struct keeper_worker *worker);
void keeper_worker_died(struct keeper *keeper, int wait_status);
/* False if there was no message. */
bool keeper_read_channel(struct keeper *keeper);
/* Starts the next one, kills one that hangs: what is due. */
void keeper_tend_worker(struct keeper *keeper);
/* Has the service manager keep the mount as it is now. */
void keeper_keep_mount(const struct keeper_state *state);
void keeper_tell_outcome(struct keeper *keeper, int code);
void keeper_fail(const char *event, const char *message);

/* ---- keeper_upgrade.c ---- */

/* Takes asker. */
void keeper_upgrade_begin(struct keeper *keeper, int asker);
/* The upgrade ends where it is, and the old worker goes on. */
void keeper_upgrade_refuse(struct keeper *keeper, const char *reason);
void keeper_upgrade_rendered(struct keeper *keeper, int wait_status);
bool keeper_upgrade_read_standby(struct keeper *keeper);
void keeper_upgrade_standby_died(struct keeper *keeper, int wait_status);
/* The old worker has ended, as it was told; true if that was part of an upgrade. */
bool keeper_upgrade_handed_over(struct keeper *keeper);
/* The new worker died, or is unfit: if it did not serve yet, the old program is taken up again, and
 * what was wrong with the new one is no reason to give anything up. False if there is no upgrade.
 */
bool keeper_upgrade_goes_back(struct keeper *keeper, int wait_status);
/* The new worker serves: the keeper becomes the new program as well. */
void keeper_upgrade_finish(struct keeper *keeper);
/* In the new keeper: tells that it is done. */
void keeper_upgrade_report(struct keeper *keeper);
void keeper_tend_upgrade(struct keeper *keeper);

#endif
