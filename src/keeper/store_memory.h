/*
 * store_memory: makes a place for a store that must not touch a disk.
 *
 * Runs in the command before it becomes the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_STORE_MEMORY_H
#define KEEPER_STORE_MEMORY_H

#include <sys/types.h>

#include "base/err.h"

/*
 * Returns a descriptor, the caller's, of an empty directory that belongs to the user: the root of a
 * private tmpfs, which goes away with its last descriptor, if the process may mount one. Otherwise
 * a directory below $XDG_RUNTIME_DIR: *ret_dir is then its path, the caller's, for
 * store_memory_remove(); else NULL. ERR_CONFIG if neither is possible.
 */
int store_memory_make(uid_t user, gid_t group, char **ret_dir, struct err *err);

/* Removes the directory. NULL is allowed. */
void store_memory_remove(const char *dir);

#endif
