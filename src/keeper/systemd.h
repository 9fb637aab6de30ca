/*
 * systemd: notifications to the service manager, and the descriptors that it stores.
 *
 * The descriptor store outlives the keeper, and so does the mount with it. It has the descriptors
 * "device-NUMBER" (of the mount), "slots" (the requests in flight), "config", "store" if the store
 * is in memory, and "machine" if the service has a mount namespace of its own. The names must not
 * change: a newer rptfs takes them over from an older one. Storing a descriptor twice is harmless.
 * Without a service manager these functions do nothing.
 *
 * Runs in the keeper, and in the command before it becomes the keeper, with the rights of the user
 * who started rptfs. One thread.
 */
#ifndef KEEPER_SYSTEMD_H
#define KEEPER_SYSTEMD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct systemd_stored {
	int device;   /* the FUSE connection */
	int inflight; /* mount/connection/inflight.h */
	int config;   /* the effective configuration at that time */
	int store;    /* the directory of a store in memory */
	int machine;  /* keeper/machine_namespace.h */
	dev_t number; /* device number of the mount; 0: none */
};

/* Reports that the mount is there, and that the first attempts are over. */
void systemd_ready(void);
/* Triggers the watchdog: a worker runs, or one is being started. */
void systemd_alive(void);
/* Extends the start timeout, if the start is not over. */
void systemd_extend_start(void);
void systemd_stopping(void);

/* Returns whether a service manager has started this process. */
bool systemd_is_there(void);
/* Returns whether the mount is in the descriptor store. */
bool systemd_stores_mount(void);
/* Stores the descriptors (borrowed) of the mount, for this keeper or the next. Call
 * systemd_drop_mount() first if another mount is stored. */
void systemd_store_mount(const struct systemd_stored *mount);
void systemd_store_store(int store);
/* Drops the FUSE connection, the requests in flight and the configuration. */
void systemd_drop_mount(void);
void systemd_drop_store(void);
/* In a command that ends before the keeper starts: stores the descriptor (borrowed) instead of the
 * one from an earlier start. Fails without a service manager. */
int systemd_store_machine(int machine, struct err *err);

/* Takes the descriptors that the previous keeper has stored; -1 for missing ones. The descriptors
 * are the caller's. Only the first call finds anything. */
void systemd_take_stored(struct systemd_stored *ret);

#endif
