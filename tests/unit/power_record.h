/*
 * power_record: records everything that this process does to the files of one directory, in order.
 *
 * Defines the libc functions that change files, under their own names, so that the program's
 * libraries, including SQLite, call them. Each performs the call and records it, under a lock, so
 * that the records are in the order of the calls. Calls on files elsewhere are passed on. Files are
 * identified by object numbers, not by inode numbers, which are reused.
 */
#ifndef TESTS_UNIT_POWER_RECORD_H
#define TESTS_UNIT_POWER_RECORD_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum op_kind {
	OP_WRITE,    /* object, offset, data, len */
	OP_TRUNCATE, /* object, offset (the new length) */
	OP_LINK,     /* dir, name, object; also a new file or directory */
	OP_UNLINK,   /* dir, name */
	OP_RENAME,   /* dir, name, to_dir, to_name */
	OP_SYNC,     /* object: a file or a directory */
	OP_PROMISED, /* number, value: success was reported */
};

#define OP_NAME_SIZE 48

struct op {
	enum op_kind kind;
	unsigned object;
	unsigned dir;
	unsigned to_dir;
	char name[OP_NAME_SIZE];
	char to_name[OP_NAME_SIZE];
	uint64_t offset;
	char *data;
	size_t len;
	unsigned number;
	uint64_t value;
};

#define RECORD_ROOT	0 /* the object of the directory itself */
#define RECORD_MAX	20000
#define RECORD_OBJECTS	2000
#define RECORD_NOTHING	UINT_MAX
#define RECORD_PATH_MAX (PATH_MAX + 8)

static struct {
	pthread_mutex_t lock;
	bool is_on;
	bool log_fails; /* fdatasync(), which SQLite calls, fails with EIO */
	dev_t device;
	ino_t inodes[RECORD_OBJECTS]; /* the last object with an inode number is valid */
	bool is_dir[RECORD_OBJECTS];
	unsigned n_objects;
	struct op ops[RECORD_MAX];
	size_t n;
} record = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void record_fail(const char *why)
{
	printf("Bail out! recording: %s\n", why);
	exit(1);
}

static struct op *record_add(enum op_kind kind)
{
	if (record.n == RECORD_MAX)
		record_fail("too much");
	struct op *op = &record.ops[record.n++];
	*op = (struct op){ .kind = kind };
	return op;
}

static void record_copy_name(char ret[OP_NAME_SIZE], const char *name)
{
	if (strlen(name) >= OP_NAME_SIZE)
		record_fail(name);
	strcpy(ret, name);
}

static unsigned record_add_object(const struct stat *st)
{
	if (record.n_objects == RECORD_OBJECTS)
		record_fail("too many files");
	record.inodes[record.n_objects] = st->st_ino;
	record.is_dir[record.n_objects] = S_ISDIR(st->st_mode);
	return record.n_objects++;
}

static unsigned record_find(int fd)
{
	struct stat st;

	if (!record.is_on || fstat(fd, &st) < 0 || st.st_dev != record.device)
		return RECORD_NOTHING;
	for (unsigned i = record.n_objects; i-- > 0;) {
		if (record.inodes[i] == st.st_ino)
			return i;
	}
	return RECORD_NOTHING;
}

/* The function of libc. */
#define REAL(name) ((__typeof__(&record_##name))dlsym(RTLD_NEXT, #name))

/* Returns the object of the path's directory; *ret_name is the last component. */
static unsigned record_find_parent(int dir_fd, const char *path, char ret_name[NAME_MAX + 1]);

static void record_link(unsigned dir, const char *name, unsigned object)
{
	struct op *op = record_add(OP_LINK);

	op->dir = dir;
	op->object = object;
	record_copy_name(op->name, name);
}

/* ------------------------------------------------------------------ the functions */

int record_openat64(int dir_fd, const char *path, int flags, ...) __asm__("openat64");
int record_openat(int dir_fd, const char *path, int flags, ...) __asm__("openat");
int record_open64(const char *path, int flags, ...) __asm__("open64");
int record_open(const char *path, int flags, ...) __asm__("open");
ssize_t record_write(int fd, const void *data, size_t len) __asm__("write");
ssize_t record_pwrite64(int fd, const void *data, size_t len, int64_t offset) __asm__("pwrite64");
ssize_t record_pwrite(int fd, const void *data, size_t len, int64_t offset) __asm__("pwrite");
int record_ftruncate64(int fd, int64_t len) __asm__("ftruncate64");
int record_ftruncate(int fd, int64_t len) __asm__("ftruncate");
int record_fsync(int fd) __asm__("fsync");
int record_fdatasync(int fd) __asm__("fdatasync");
int record_linkat(int from_fd, const char *from, int to_fd, const char *to,
		  int flags) __asm__("linkat");
int record_renameat(int from_fd, const char *from, int to_fd, const char *to) __asm__("renameat");
int record_unlinkat(int dir_fd, const char *path, int flags) __asm__("unlinkat");
int record_unlink(const char *path) __asm__("unlink");
int record_mkdirat(int dir_fd, const char *path, mode_t mode) __asm__("mkdirat");

static unsigned record_find_parent(int dir_fd, const char *path, char ret_name[NAME_MAX + 1])
{
	char copy[RECORD_PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!record.is_on || strlen(path) >= PATH_MAX)
		return RECORD_NOTHING;
	snprintf(ret_name, NAME_MAX + 1, "%.*s", NAME_MAX, slash ? slash + 1 : path);
	snprintf(copy, sizeof(copy), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		 slash ? path : ".");
	int fd = REAL(openat64)(dir_fd, copy, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	unsigned object = fd < 0 ? RECORD_NOTHING : record_find(fd);
	int saved = errno;
	if (fd >= 0)
		close(fd);
	errno = saved;
	return object;
}

/* Records what was just opened or made. A new file is an object, with or without a name. */
static int record_opened(int fd, int flags, unsigned dir, const char *name, bool was_there)
{
	struct stat st;

	if (fd < 0 || dir == RECORD_NOTHING || fstat(fd, &st) < 0)
		return fd;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		record_add_object(&st);
	else if ((flags & O_CREAT) && !was_there)
		record_link(dir, name, record_add_object(&st));
	else if ((flags & O_TRUNC))
		record_fail("O_TRUNC");
	return fd;
}

static int record_any_open(int dir_fd, const char *path, int flags, mode_t mode)
{
	char name[NAME_MAX + 1];
	struct stat st;

	if ((flags & O_TMPFILE) != O_TMPFILE && !(flags & (O_CREAT | O_TRUNC)))
		return REAL(openat64)(dir_fd, path, flags, mode);
	pthread_mutex_lock(&record.lock);
	unsigned dir = record_find_parent(dir_fd, path, name);
	bool was_there = fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
	int fd = record_opened(REAL(openat64)(dir_fd, path, flags, mode), flags, dir, name,
			       was_there);
	pthread_mutex_unlock(&record.lock);
	return fd;
}

#define RECORD_MODE(flags)                                               \
	({                                                               \
		mode_t mode_ = 0;                                        \
		va_list args_;                                           \
		va_start(args_, flags);                                  \
		if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) \
			mode_ = va_arg(args_, mode_t);                   \
		va_end(args_);                                           \
		mode_;                                                   \
	})

int record_openat64(int dir_fd, const char *path, int flags, ...)
{
	return record_any_open(dir_fd, path, flags, RECORD_MODE(flags));
}

int record_openat(int dir_fd, const char *path, int flags, ...)
{
	return record_any_open(dir_fd, path, flags, RECORD_MODE(flags));
}

int record_open64(const char *path, int flags, ...)
{
	return record_any_open(AT_FDCWD, path, flags, RECORD_MODE(flags));
}

int record_open(const char *path, int flags, ...)
{
	return record_any_open(AT_FDCWD, path, flags, RECORD_MODE(flags));
}

static void record_data(unsigned object, const void *data, ssize_t len, uint64_t offset)
{
	if (object == RECORD_NOTHING || len <= 0)
		return;
	struct op *op = record_add(OP_WRITE);
	op->object = object;
	op->offset = offset;
	op->len = (size_t)len;
	op->data = malloc(op->len);
	memcpy(op->data, data, op->len);
}

ssize_t record_write(int fd, const void *data, size_t len)
{
	pthread_mutex_lock(&record.lock);
	unsigned object = record_find(fd);
	off_t offset = object == RECORD_NOTHING ? 0 : lseek(fd, 0, SEEK_CUR);
	ssize_t n = REAL(write)(fd, data, len);
	record_data(object, data, n, (uint64_t)offset);
	pthread_mutex_unlock(&record.lock);
	return n;
}

ssize_t record_pwrite64(int fd, const void *data, size_t len, int64_t offset)
{
	pthread_mutex_lock(&record.lock);
	ssize_t n = REAL(pwrite64)(fd, data, len, offset);
	record_data(record_find(fd), data, n, (uint64_t)offset);
	pthread_mutex_unlock(&record.lock);
	return n;
}

ssize_t record_pwrite(int fd, const void *data, size_t len, int64_t offset)
{
	return record_pwrite64(fd, data, len, offset);
}

int record_ftruncate64(int fd, int64_t len)
{
	pthread_mutex_lock(&record.lock);
	int result = REAL(ftruncate64)(fd, len);
	unsigned object = record_find(fd);
	if (result == 0 && object != RECORD_NOTHING) {
		struct op *op = record_add(OP_TRUNCATE);
		op->object = object;
		op->offset = (uint64_t)len;
	}
	pthread_mutex_unlock(&record.lock);
	return result;
}

int record_ftruncate(int fd, int64_t len)
{
	return record_ftruncate64(fd, len);
}

static int record_synced(int fd, int result)
{
	unsigned object = result < 0 ? RECORD_NOTHING : record_find(fd);

	if (object != RECORD_NOTHING)
		record_add(OP_SYNC)->object = object;
	return result;
}

/* The sync does not cover what is written while it runs. */
int record_fsync(int fd)
{
	pthread_mutex_lock(&record.lock);
	int result = record_synced(fd, REAL(fsync)(fd));
	pthread_mutex_unlock(&record.lock);
	return result;
}

int record_fdatasync(int fd)
{
	pthread_mutex_lock(&record.lock);
	int result = record.log_fails ? -1 : record_synced(fd, REAL(fdatasync)(fd));
	if (record.log_fails)
		errno = EIO;
	pthread_mutex_unlock(&record.lock);
	return result;
}

int record_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	char name[NAME_MAX + 1];

	pthread_mutex_lock(&record.lock);
	int result = REAL(linkat)(from_fd, from, to_fd, to, flags);
	int saved = errno;
	unsigned dir = result < 0 ? RECORD_NOTHING : record_find_parent(to_fd, to, name);
	if (dir != RECORD_NOTHING) {
		int fd = REAL(openat64)(to_fd, to, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
		record_link(dir, name, record_find(fd));
		close(fd);
	}
	errno = saved;
	pthread_mutex_unlock(&record.lock);
	return result;
}

int record_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	char name[NAME_MAX + 1], to_name[NAME_MAX + 1];

	pthread_mutex_lock(&record.lock);
	int result = REAL(renameat)(from_fd, from, to_fd, to);
	unsigned dir = result < 0 ? RECORD_NOTHING : record_find_parent(from_fd, from, name);
	if (dir != RECORD_NOTHING) {
		struct op *op = record_add(OP_RENAME);
		op->dir = dir;
		op->to_dir = record_find_parent(to_fd, to, to_name);
		record_copy_name(op->name, name);
		record_copy_name(op->to_name, to_name);
	}
	pthread_mutex_unlock(&record.lock);
	return result;
}

int record_unlinkat(int dir_fd, const char *path, int flags)
{
	char name[NAME_MAX + 1];

	pthread_mutex_lock(&record.lock);
	int result = REAL(unlinkat)(dir_fd, path, flags);
	unsigned dir = result < 0 ? RECORD_NOTHING : record_find_parent(dir_fd, path, name);
	if (dir != RECORD_NOTHING) {
		struct op *op = record_add(OP_UNLINK);
		op->dir = dir;
		record_copy_name(op->name, name);
	}
	pthread_mutex_unlock(&record.lock);
	return result;
}

int record_unlink(const char *path)
{
	return record_unlinkat(AT_FDCWD, path, 0);
}

int record_mkdirat(int dir_fd, const char *path, mode_t mode)
{
	char name[NAME_MAX + 1];
	struct stat st;

	pthread_mutex_lock(&record.lock);
	int result = REAL(mkdirat)(dir_fd, path, mode);
	int saved = errno;
	unsigned dir = result < 0 ? RECORD_NOTHING : record_find_parent(dir_fd, path, name);
	if (dir != RECORD_NOTHING && fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		record_link(dir, name, record_add_object(&st));
	errno = saved;
	pthread_mutex_unlock(&record.lock);
	return result;
}

/* ------------------------------------------------------------------ for the test */

/* Records from now on what happens below `dir`, which is empty and durable. */
static void record_start(const char *dir)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		record_fail(dir);
	for (size_t i = 0; i < record.n; i++)
		free(record.ops[i].data);
	record.n = record.n_objects = 0;
	record.device = st.st_dev;
	record_add_object(&st);
	record.is_on = true;
}

static void record_stop(void)
{
	pthread_mutex_lock(&record.lock);
	record.is_on = false;
	pthread_mutex_unlock(&record.lock);
}

static void record_promised(unsigned number, uint64_t value)
{
	pthread_mutex_lock(&record.lock);
	if (record.is_on) {
		struct op *op = record_add(OP_PROMISED);
		op->number = number;
		op->value = value;
	}
	pthread_mutex_unlock(&record.lock);
}

#endif
