/*
 * store_directory: makes the directory of a store for the user that will use it.
 *
 * Runs in the command before it becomes the keeper, and in an upgrade, with the rights of the user
 * who started rptfs. Depends on the names that store/store.h lists, and on nothing else of the
 * store.
 */
#ifndef KEEPER_STORE_DIRECTORY_H
#define KEEPER_STORE_DIRECTORY_H

#include <sys/types.h>

#include "base/err.h"

/*
 * Returns a descriptor of directory `dir`, the caller's, perhaps O_PATH. If this process may mount,
 * nothing can be executed through the descriptor, and it follows no links. Makes the missing parts
 * of its path; the directory itself gets mode 0700 and belongs to the user. If a store belongs to
 * another user, its owner is changed with all its content. ERR_CONFIG if the directory is neither
 * empty nor a store, is / or shared by all users as /tmp is, or if the owner of a store in use
 * would have to be changed. Nothing outside the directory is changed, whatever links are in it.
 */
int store_directory_make(const char *dir, uid_t user, gid_t group, struct err *err);

/* Would store_directory_make() refuse the directory for what it is or has in it? Changes nothing,
 * and accepts a directory that is missing or that this user may not read. */
int store_directory_check(const char *dir, struct err *err);

#endif
