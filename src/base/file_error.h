/*
 * file_error: the error of a failed call on a file.
 */
#ifndef BASE_FILE_ERROR_H
#define BASE_FILE_ERROR_H

#include "base/err.h"

/* Sets *err from errno, without a path: ERR_NOT_FOUND (ENOENT, ENOTDIR), ERR_DENIED,
 * ERR_BAD_DATA (a loop of links, a name that is too long, a socket), ERR_BUSY (the limit of inotify
 * watches) or ERR_INTERNAL. Returns -1. */
int file_error(struct err *err);

#endif
