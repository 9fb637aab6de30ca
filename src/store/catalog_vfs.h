/*
 * catalog_vfs: the way from SQLite to the catalog's files.
 *
 * SQLite's own for Unix, but for four things. Names are taken as they are: it would resolve the
 * magic link in /proc/self/fd to a name, which a detached tmpfs does not have. A read that fails
 * with EIO is an I/O error: it would call it a damaged database, and the disk's trouble may pass. A
 * file that cannot be opened for writing is not opened: it would be read, and refuse later, for
 * another reason. And the errno of what failed is kept, for messages.
 */
#ifndef STORE_CATALOG_VFS_H
#define STORE_CATALOG_VFS_H

/* Its name, for sqlite3_open_v2(). */
const char *catalog_vfs(void);

/* The errno of the last operation on a file that failed in this thread. */
extern _Thread_local int catalog_vfs_errno;

#endif
