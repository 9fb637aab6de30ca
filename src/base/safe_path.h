/*
 * safe_path: opening files by paths of which other users may own a part.
 *
 * The owner of a directory or a symbolic link decides where a path through it leads. A process that
 * may read everything must not let an untrusted user choose the file that it reads. So a path is
 * walked component by component, with descriptors. The file is opened through the descriptor that
 * was checked, so replacing a component during the walk has no effect.
 *
 * Root, the user of this process, and the owner of "/" are trusted (in a user namespace, root
 * outside it is another user). There are two rules:
 *
 *	SAFE_PATH_OWN    a directory or link of an untrusted user may lead only to files and
 *	                 directories of the same user
 *	SAFE_PATH_OURS   the file, and all directories and links on the way, belong to trusted
 *	                 users, and no other user may write to them. A directory with the sticky
 *	                 bit may be writable by all, because others cannot replace its entries.
 *	                 Modes are not checked on a file system that is mounted read-only. The
 *	                 group with the number of an ordinary user counts as that user
 *
 * A relative path begins in the working directory (SAFE_PATH_OWN only). Errors have the kinds of
 * file_error(). A path that violates a rule is ERR_DENIED, and the message names the component, its
 * owner and a remedy. Messages do not begin with the path. Calls block as long as the file system
 * does. From any thread.
 */
#ifndef BASE_SAFE_PATH_H
#define BASE_SAFE_PATH_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"

enum safe_path_rule { SAFE_PATH_OWN, SAFE_PATH_OURS };

/* Returns a descriptor opened with O_PATH, the caller's, and its fstat(2) in *ret. follow: follow a
 * link at the end; otherwise the descriptor is that of the link. */
int safe_path_find(const char *path, enum safe_path_rule rule, bool follow, struct stat *ret,
		   struct err *err);

/* Opens a descriptor of safe_path_find() for reading. flags: O_NONBLOCK or 0. Returns the caller's
 * descriptor. */
int safe_path_reopen(int found, int flags, struct err *err);

/* Both, non-blocking, for a regular file or a FIFO. ERR_BAD_DATA for anything else, which is not
 * opened: opening a device may have effects, and a descriptor of a directory gives access to
 * everything in it. */
int safe_path_open(const char *path, enum safe_path_rule rule, struct err *err);

/* As safe_path_find(), for a socket. ERR_BAD_DATA for anything else. */
int safe_path_find_socket(const char *path, enum safe_path_rule rule, struct err *err);

/* Adds a watch for `events` of a directory ("": the root) to an inotify descriptor, and returns its
 * number. Applies SAFE_PATH_OWN. */
int safe_path_watch(int inotify, const char *directory, unsigned events, struct err *err);

#endif
