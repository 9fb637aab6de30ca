/*
 * safe_path: what a path leads to, whoever owns the way.
 *
 * Whoever owns a directory or a symbolic link decides where a path through it leads. A process that
 * may read everything must not let a stranger choose what it reads. So a path is walked component
 * by component, with descriptors, and what was found is opened through the descriptor that was
 * checked: a component that is exchanged meanwhile changes nothing.
 *
 * Trusted are root, the user of this process, and the owner of "/" (in a user namespace, root
 * outside it is another user). There are two rules:
 *
 *	SAFE_PATH_OWN    from a directory or link of a user who is not trusted, only what belongs to
 *	                 the same user is reached: neither files nor directories of others
 *	SAFE_PATH_OURS   the file, and all directories and links on the way, belong to trusted users,
 *	                 and nobody else may write to them. A directory with the sticky bit may be
 *	                 writable by all, because others cannot replace what is in it; modes do not
 *	                 count on a file system that is mounted read-only; and the group with the
 *	                 number of an ordinary user counts as that user
 *
 * A relative path begins in the working directory (SAFE_PATH_OWN only). Errors have the kinds of file_error(); a path that a rule forbids is
 * ERR_DENIED, and the message names the component, its owner and what helps. They do not begin with
 * the path. Calls block as long as the file system does. From any thread.
 */
#ifndef BASE_SAFE_PATH_H
#define BASE_SAFE_PATH_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"

enum safe_path_rule { SAFE_PATH_OWN, SAFE_PATH_OURS };

/* Returns a descriptor opened with O_PATH, the caller's. follow: a link at the end is followed;
 * else the descriptor is of the link. *ret is what fstat(2) says about it. */
int safe_path_find(const char *path, enum safe_path_rule rule, bool follow, struct stat *ret,
		   struct err *err);

/* Opens what was found for reading. flags: O_NONBLOCK or 0. The caller's descriptor. */
int safe_path_reopen(int found, int flags, struct err *err);

/* Both, non-blocking, for a regular file or a FIFO. ERR_BAD_DATA for anything else, which is not opened: opening
 * a device may have effects, and a descriptor of a directory gives access to what is in it. */
int safe_path_open(const char *path, enum safe_path_rule rule, struct err *err);

/* Adds a watch for `events` of a directory ("": the root) to an inotify descriptor, and returns its
 * number. By SAFE_PATH_OWN. */
int safe_path_watch(int inotify, const char *directory, unsigned events, struct err *err);

#endif
