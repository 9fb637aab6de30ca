/*
 * Each opened file gets a copy of its methods in which some are replaced. SQLite has few sets of
 * methods (with and without locks), and they are static, so one copy of each is enough.
 */
#include "store/catalog_vfs.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>

#include "base/util.h"

struct methods {
	sqlite3_io_methods ours;
	const sqlite3_io_methods *original;
};

_Thread_local int catalog_vfs_errno;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct methods known[4]; /* guarded by lock, until `original` is set */
static sqlite3_vfs vfs;
static sqlite3_vfs *unix_vfs;

static const sqlite3_io_methods *original(sqlite3_file *file)
{
	return container_of(file->pMethods, struct methods, ours)->original;
}

static int note(int rc)
{
	if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
		catalog_vfs_errno = errno;
	return rc;
}

static int read_file(sqlite3_file *file, void *buf, int n, sqlite3_int64 offset)
{
	int rc = note(original(file)->xRead(file, buf, n, offset));

	return rc == SQLITE_IOERR_CORRUPTFS ? SQLITE_IOERR_READ : rc;
}

static int write_file(sqlite3_file *file, const void *buf, int n, sqlite3_int64 offset)
{
	return note(original(file)->xWrite(file, buf, n, offset));
}

static int truncate_file(sqlite3_file *file, sqlite3_int64 size)
{
	return note(original(file)->xTruncate(file, size));
}

static int sync_file(sqlite3_file *file, int flags)
{
	return note(original(file)->xSync(file, flags));
}

static int size_file(sqlite3_file *file, sqlite3_int64 *ret)
{
	return note(original(file)->xFileSize(file, ret));
}

static int lock_file(sqlite3_file *file, int level)
{
	return note(original(file)->xLock(file, level));
}

/* Returns the copy of a set of methods, or the set itself if `known` is full. */
static const sqlite3_io_methods *replace(const sqlite3_io_methods *methods)
{
	const sqlite3_io_methods *found = methods;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < ARRAY_SIZE(known) && found == methods; i++) {
		if (!known[i].original) {
			known[i].ours = *methods;
			known[i].ours.xRead = read_file;
			known[i].ours.xWrite = write_file;
			known[i].ours.xTruncate = truncate_file;
			known[i].ours.xSync = sync_file;
			known[i].ours.xFileSize = size_file;
			known[i].ours.xLock = lock_file;
			known[i].original = methods;
		}
		if (known[i].original == methods)
			found = &known[i].ours;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static int open_file(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
		     int *ret_flags)
{
	int got_flags = 0;
	int rc = unix_vfs->xOpen(self, name, file, flags, &got_flags);

	if (rc == SQLITE_OK && flags & SQLITE_OPEN_READWRITE && got_flags & SQLITE_OPEN_READONLY) {
		int saved = errno;

		file->pMethods->xClose(file);
		file->pMethods = NULL;
		errno = saved;
		rc = SQLITE_CANTOPEN;
	}
	if (file->pMethods)
		file->pMethods = replace(file->pMethods);
	if (ret_flags)
		*ret_flags = got_flags;
	return note(rc);
}

static int delete_file(sqlite3_vfs *self, const char *name, int sync_directory)
{
	return note(unix_vfs->xDelete(self, name, sync_directory));
}

static int keep_pathname(sqlite3_vfs *self, const char *name, int size, char *ret)
{
	(void)self;
	return snprintf(ret, (size_t)size, "%s", name) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static void register_vfs(void)
{
	unix_vfs = sqlite3_vfs_find("unix");
	vfs = *unix_vfs;
	vfs.zName = "rptfs";
	vfs.pNext = NULL;
	vfs.xFullPathname = keep_pathname;
	vfs.xOpen = open_file;
	vfs.xDelete = delete_file;
	sqlite3_vfs_register(&vfs, 0);
}

const char *catalog_vfs(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_vfs);
	return vfs.zName;
}
