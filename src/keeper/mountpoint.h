/*
 * mountpoint: mounting and unmounting.
 *
 * Root uses the system calls of the kernel, other users fusermount3. The mount is read-only, so the
 * kernel answers every write with EROFS; default_permissions makes it check modes. Names are moved
 * through a handle: a second mount of the same superblock, attached nowhere, which is writable.
 *
 * No function blocks on a daemon that hangs.
 *
 * Runs in the keeper, and in the command before it becomes the keeper, with the rights of the user
 * who started rptfs.
 */
#ifndef KEEPER_MOUNTPOINT_H
#define KEEPER_MOUNTPOINT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Checks that something can be mounted at this absolute path without links, after removing rptfs
 * mounts whose daemon is dead. If it is free, *ret_place, the caller's, is the directory that was
 * checked, and no other rptfs can be mounted there until it is closed, unless the directory cannot
 * be locked. Sets *err only if it is unusable.
 */
enum mountpoint_use {
	MOUNTPOINT_FREE,
	MOUNTPOINT_MOUNTED, /* an rptfs is mounted there */
	MOUNTPOINT_LOCKED,  /* by an rptfs that starts or ends */
	MOUNTPOINT_UNUSABLE,
};
enum mountpoint_use mountpoint_prepare(const char *mountpoint, int *ret_place, struct err *err);

struct mountpoint_setup {
	const char *mountpoint; /* borrowed */
	int place;		/* borrowed; of mountpoint_prepare(); -1: what is at the path now */
	bool allow_other;
	bool noexec;
	bool is_writable; /* the superblock, for handles; the mount never is; not for users */
};

struct mountpoint_made {
	int device; /* of the FUSE connection; the caller's */
	int handle; /* of the mount; the caller's; -1: none */
	dev_t number;
};

/* Mounts. Root mounts on the directory `place`, whatever is at the path meanwhile; users mount at
 * the path, with fusermount3. */
int mountpoint_mount(const struct mountpoint_setup *setup, struct mountpoint_made *ret,
		     struct err *err);

/* Replaces the mount with this device number, whose connection has ended. As root on Linux 6.5 or
 * later the new one is mounted beneath the old one first, so the path is always mounted. */
int mountpoint_replace(const struct mountpoint_setup *setup, dev_t number,
		       struct mountpoint_made *ret, struct err *err);

/* A handle of the mount at the path, if it has this device number. A handle follows no symbolic
 * link, and keeps the connection alive. The caller's. Only root can have one. */
int mountpoint_open_handle(const char *mountpoint, dev_t number, bool is_writable, struct err *err);

/* Returns whether that device is mounted anywhere in this namespace. mounts: /proc/self/mountinfo;
 * poll(2) reports a change (POLLPRI) until this function reads it. Allocates nothing.
 * *ret_read_only: its superblock is read-only; NULL is allowed. */
bool mountpoint_is_mounted(int mounts, dev_t number, bool *ret_read_only);

/* Changes noexec of the mount at the path, if it has this device number. Only root can. */
int mountpoint_set_noexec(const char *mountpoint, dev_t number, bool noexec, struct err *err);

/* Returns whether the device is one of a FUSE connection that the kernel has not ended. */
bool mountpoint_is_connected(int device);

/* Makes the superblock of the handle writable again. Never blocks. */
int mountpoint_make_writable(int handle, struct err *err);

/* Returns the device number of the file system mounted there, or 0 if there is none. */
dev_t mountpoint_number(const char *mountpoint);

/* Returns whether other users see the file system at the path: it has allow_other. */
bool mountpoint_allows_others(const char *mountpoint);

/* Detaches the mount at the path at once, even while files are open, if it has that device number.
 * Returns whether it was there. */
bool mountpoint_unmount(const char *mountpoint, dev_t number);

/* The same at every path where that device is mounted. The caller must know that the device still
 * exists: the kernel gives its number to other file systems afterwards. */
void mountpoint_unmount_number(dev_t number);

#endif
