/*
 * files: opening, reading and watching configured files, in a process that may lack the rights.
 *
 * The worker sends each call to the helper, which has the rights of the user who started rptfs and
 * serves configured paths only. In other processes helper is NULL, and they make the call
 * themselves. Both walk the path with base/safe_path.h: the owner of a directory or a link on the
 * way cannot make rptfs read files of other users.
 *
 * Descriptors are read-only and non-blocking (O_NONBLOCK), because the path may be a FIFO without a
 * writer. Only regular files and FIFOs are opened.
 *
 * Errors start with "opening PATH: ", "reading PATH: ", "looking at PATH: " or "watching PATH: ".
 * Kinds: those of base/safe_path.h and base/helper.h. From any thread.
 */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stddef.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

struct helper; /* borrowed; NULL: this process makes the calls itself */

/* Returns the caller's descriptor. */
int files_open(struct helper *helper, const char *path, struct err *err);

/* stat(2) and lstat(2). */
int files_stat(struct helper *helper, const char *path, struct stat *ret, struct err *err);
int files_lstat(struct helper *helper, const char *path, struct stat *ret, struct err *err);

/* Returns the caller's O_PATH descriptor of a socket. connect(2) to its path in /proc/self/fd needs
 * the permission to write to the socket itself, but no right on the way to it. */
int files_find_socket(struct helper *helper, const char *path, struct err *err);

/* The events that are watched in a directory. */
#define FILES_WATCH_EVENTS                                                                  \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

/* Adds a watch to the inotify descriptor and returns its number. directory is the part of a path
 * before its last slash, so "" for the root. ERR_BUSY: the limit of watches is reached. */
int files_watch(struct helper *helper, int inotify, const char *directory, struct err *err);

#endif
