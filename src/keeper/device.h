/*
 * device: mounting and unmounting, for the keeper.
 *
 * As root with the kernel's own calls, else through fusermount3. The mount is read-only, so the
 * kernel answers everything that would write with EROFS; default_permissions makes it enforce
 * modes. Names are moved through a handle, which is a mount of the same superblock that is not.
 */
#ifndef KEEPER_DEVICE_H
#define KEEPER_DEVICE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Can something be mounted at this absolute path? A mount of ours whose daemon is gone is taken
 * away first. Keeps others from mounting an rptfs there at the same time until *ret_lock (the
 * caller's; -1 where the directory cannot be locked) is closed.
 */
int device_prepare(const char *mountpoint, int *ret_lock, struct err *err);

/* Mounts and returns the connection's descriptor (the caller's), or -1. Read-only where it is
 * mounted; is_writable: not below that, for who has a handle. A user's is never writable. */
int device_mount(const char *mountpoint, bool allow_other, bool is_writable, struct err *err);

/* Mounts anew where a connection of ours has ended: beneath the old mount where the kernel can
 * (Linux 6.5, as root), so that there is no moment without one, and takes the old one (with this
 * number) away. */
int device_mount_again(const char *mountpoint, dev_t number, bool allow_other, bool is_writable,
		       struct err *err);

/* A handle of what is mounted there, if it has that number: a mount of its own that no path leads
 * to, on which no link is followed. The caller's; -1: only root can have one. As long as it is
 * open, the connection lives. */
int device_open_handle(const char *mountpoint, dev_t number, bool is_writable, struct err *err);

/* Is it mounted anywhere that this process can see? mounts: /proc/self/mountinfo, of which a change
 * is told by poll(2) until this reads it. Allocates nothing. */
bool device_is_mounted(int mounts, dev_t number);

/* The device number of what is mounted there, without asking its daemon; 0 if there is nothing. */
dev_t device_number(const char *mountpoint);

/* Detaches the mount at once, also while files are open, if it still is the one with that number.
 */
void device_unmount(const char *mountpoint, dev_t number);

/* The same wherever the mount with that number is. */
void device_unmount_number(dev_t number);

#endif
