/*
 * files: opening, reading and watching configured files, in a process that may lack the rights.
 *
 * Each function first makes the system call in this process. If permissions or the sandbox forbid
 * it (EACCES, EPERM), the function sends a request to the helper, which has the rights of the user
 * who started rptfs and serves configured paths only. helper (borrowed) is NULL in processes that
 * have these rights.
 *
 * Descriptors are read-only and non-blocking (O_NONBLOCK), because the path may be a FIFO without a
 * writer.
 *
 * Errors start with "opening PATH: ", "reading PATH: ", "looking at PATH: " or "watching PATH: ".
 * Kinds: ERR_NOT_FOUND (ENOENT, ENOTDIR), ERR_DENIED, ERR_BAD_DATA (a loop of links, a name that is
 * too long, a socket), ERR_INTERNAL, and those of base/helper.h. From any thread.
 */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stddef.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

struct helper;

/* Returns the caller's descriptor. */
int files_open(struct helper *helper, const char *path, struct err *err);

/* Reads at most the first `size` bytes. Returns how many, or -1. */
ssize_t files_read(struct helper *helper, const char *path, void *ret, size_t size,
		   struct err *err);

/* stat(2) and lstat(2). */
int files_stat(struct helper *helper, const char *path, struct stat *ret, struct err *err);
int files_lstat(struct helper *helper, const char *path, struct stat *ret, struct err *err);

/* The events that are watched in a directory. */
#define FILES_WATCH_EVENTS                                                                  \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

/* Adds a watch to the inotify descriptor and returns its number. directory is the part of a path
 * before its last slash, so "" for the root. ERR_BUSY: the limit of watches is reached. */
int files_watch(struct helper *helper, int inotify, const char *directory, struct err *err);

/* Sets *err from errno, without a path. Returns -1. */
int files_fail(struct err *err);

#endif
