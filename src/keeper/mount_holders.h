/*
 * mount_holders: finds where a mount is still attached that is not at its own path any more:
 * another namespace of mounts that was copied while it was there, or a bind mount.
 *
 * Runs in the command, with the rights of the user who started rptfs: others' namespaces are
 * visible to root only.
 */
#ifndef KEEPER_MOUNT_HOLDERS_H
#define KEEPER_MOUNT_HOLDERS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#define MOUNT_HOLDER_SIZE (PATH_MAX + 128)

/* Describes one for the mount of that keeper, for people: "at /place", or "at /mnt/rpt in the
 * namespace of process 12 (sh)". Returns false if none is found. Older kernels do not show which
 * mount a keeper has: then the mount point is looked for in other namespaces. */
bool mount_holders_find(pid_t keeper, const char *mountpoint, char ret[MOUNT_HOLDER_SIZE]);

/* The name of a process, as ps shows it. Returns false if there is no such process. */
#define MOUNT_HOLDERS_NAME_SIZE 32
bool mount_holders_name(pid_t pid, char ret[MOUNT_HOLDERS_NAME_SIZE]);

#endif
