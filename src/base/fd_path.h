/*
 * fd_path: paths and descriptors that are already open.
 */
#ifndef BASE_FD_PATH_H
#define BASE_FD_PATH_H

#include <limits.h>

#define FD_PATH_SIZE 32

/* A path that leads to the file of the descriptor, wherever it is now. Returns ret. */
const char *fd_path(int fd, char ret[FD_PATH_SIZE]);

/* The path of the file, as the kernel shows it. Returns its length, or -1 with errno. */
int fd_path_find(int fd, char ret[PATH_MAX]);

#endif
