/*
 * device: mounting and unmounting, for the keeper.
 *
 * As root with mount(2), else through fusermount3. The superblock is read-only, so the kernel
 * answers everything that would write with EROFS; default_permissions makes it enforce modes.
 */
#ifndef MOUNT_DEVICE_H
#define MOUNT_DEVICE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Mounts at an absolute path and returns the connection's descriptor (the caller's), or -1. */
int device_mount(const char *mountpoint, bool allow_other, struct err *err);

/* The device number of what is mounted there, without asking its daemon; 0 if there is nothing. */
dev_t device_number(const char *mountpoint);

/* Detaches the mount at once, also while files are open, if it still is the one with that number.
 */
void device_unmount(const char *mountpoint, dev_t number);

#endif
