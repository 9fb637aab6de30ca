/*
 * directory: listing a directory, and removing one with its content.
 */
#ifndef BASE_DIRECTORY_H
#define BASE_DIRECTORY_H

/* Calls each() for every name in the directory, except . and .., until it returns -1. Returns -1,
 * with errno, also if the directory cannot be read. Does not follow a link at `dir`. */
int directory_list(int parent_fd, const char *dir,
		   int (*each)(void *arg, int dir_fd, const char *name), void *arg);

/* Removes a directory and its content. Follows no link, and stays on the directory's file system.
 * What cannot be removed stays. */
void directory_remove_tree(int parent_fd, const char *name);

#endif
