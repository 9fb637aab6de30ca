/*
 * notify: what a service manager (systemd) is told, and what it keeps for us.
 *
 * Without one, everything here does nothing. What it keeps outlives the keeper, and the mount with
 * it: the descriptors "device-NUMBER" (of the mount), "slots" and "config", and "store" for one in
 * memory. That a descriptor is kept twice does no harm. For the keeper's one thread.
 */
#ifndef KEEPER_NOTIFY_H
#define KEEPER_NOTIFY_H

#include <stdbool.h>
#include <sys/types.h>

struct notify_kept {
	int device; /* the connection */
	int slots;
	int config;   /* in effect when it was kept */
	int store;    /* of a store in memory */
	dev_t number; /* of the mount; 0: none */
};

/* Mounted, and the first attempts are over. */
void notify_ready(void);
/* The keeper does its work: a worker lives, or one is being started. */
void notify_alive(void);
/* The start may take longer, if it is not over. */
void notify_starting(void);
void notify_stopping(void);

/* Does somebody keep the mount for us? */
bool notify_keeps(void);
/* Has these kept until we or our successor ask for them; all are borrowed. What was kept of another
 * mount is to be forgotten before. */
void notify_keep_mount(const struct notify_kept *kept);
void notify_keep_store(int store);
/* The connection and what belongs to it. */
void notify_forget_mount(void);
void notify_forget_store(void);

/* What was kept of the keeper before us: -1 each where there is nothing. The first call has it all,
 * and makes it the caller's; the later ones find nothing. */
void notify_take(struct notify_kept *ret);

#endif
