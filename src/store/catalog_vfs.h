/*
 * catalog_vfs: the VFS through which SQLite accesses the catalog's files.
 *
 * It is SQLite's "unix" VFS with four changes:
 * - Names are used as they are. "unix" would resolve the magic link in /proc/self/fd to a path,
 *   which a detached tmpfs does not have.
 * - A read that fails with EIO is an I/O error, which may pass. "unix" calls it a damaged database.
 * - A file that cannot be opened for writing is not opened. "unix" opens it read-only, and writing
 *   fails later with a misleading reason.
 * - The errno of the last failure is kept, for messages.
 */
#ifndef STORE_CATALOG_VFS_H
#define STORE_CATALOG_VFS_H

/* Returns its name, for sqlite3_open_v2(). */
const char *catalog_vfs(void);

/* The errno of the last file operation that failed in this thread. */
extern _Thread_local int catalog_vfs_errno;

#endif
