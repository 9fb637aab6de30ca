/*
 * files: the files that the configuration names, for a process that may not read all of them.
 *
 * Each function tries by itself first. What permissions or the sandbox refuse is then asked of the
 * helper, which does it with the rights that rptfs was started with, for paths that stand in the
 * configuration. Descriptors are for reading alone, and do not wait (O_NONBLOCK): what is named may
 * be a FIFO that nobody fills.
 *
 * Errors: "opening PATH: …", "looking at PATH: …", of kind ERR_NOT_FOUND (ENOENT, ENOTDIR),
 * ERR_DENIED, ERR_BAD_DATA (a loop of links, a name too long, a socket), ERR_INTERNAL, and what
 * base/helper.h says. From any thread.
 */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stddef.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

struct helper;

/* Whom to ask (borrowed; NULL, as at first: nobody). While no other thread uses files. */
void files_set_helper(struct helper *helper);

/* The caller's descriptor. */
int files_open(const char *path, struct err *err);

/* The first `size` bytes of it, or all that there are: "reading PATH: …". */
ssize_t files_read(const char *path, void *ret, size_t size, struct err *err);

/* stat(2), and lstat(2). */
int files_stat(const char *path, struct stat *ret, struct err *err);
int files_lstat(const char *path, struct stat *ret, struct err *err);

/* What of a directory is watched. */
#define FILES_WATCH_EVENTS                                                                  \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

/* Adds a watch to the inotify descriptor and returns its number. directory is that of a path: what
 * stands before its last slash, and so "" for the root. ERR_BUSY: the limit of watches. */
int files_watch(int inotify, const char *directory, struct err *err);

/* What errno says, as an error without the name of the file. */
int files_fail(struct err *err);

#endif
