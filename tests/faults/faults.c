/*
 * Each function here interposes on the next definition of the same name (the C library's or a
 * sanitizer's) and calls it, unless the call is one that has to fail. /proc/self/fd gives the file
 * behind a descriptor or path; it is read only while a test counts or fails calls.
 *
 * No code here allocates, takes locks, or calls a function that is defined here.
 */
#undef _FILE_OFFSET_BITS /* open64() etc. are defined here too; on LP64 they are the same */
#include "faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == sizeof(off64_t), "one definition for both");

#define NOWHERE (-1000) /* a call that has no file */
#define ERRNO	(FAULT_HALF - 1u)

static struct faults *mapped; /* applied once the process has the right name */
static struct faults *_Atomic applied;

/* ------------------------------------------------------------------ matching */

static bool lies_below(const struct faults *faults, const char *path)
{
	size_t len = strlen(faults->below);

	return strncmp(path, faults->below, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* In a mount that is attached nowhere, paths begin at its root, and lead elsewhere or nowhere. */
static bool is_detached(const struct faults *faults, int fd, const char *path)
{
	struct stat found, there;

	if (!faults->device || syscall(SYS_newfstatat, fd, "", &found, AT_EMPTY_PATH) < 0 ||
	    (uint32_t)found.st_dev != faults->device)
		return false;
	return syscall(SYS_newfstatat, AT_FDCWD, path, &there, 0) < 0 ||
	       there.st_ino != found.st_ino || there.st_dev != found.st_dev;
}

static bool descriptor_lies_below(const struct faults *faults, int fd)
{
	char link[32], path[PATH_MAX];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return lies_below(faults, path) || is_detached(faults, fd, path);
}

/* path: NULL if the call has none. */
static bool place_matches(const struct faults *faults, int fd, const char *path)
{
	int number;

	if (!faults->below[0] || fd == NOWHERE)
		return true;
	if (!path || (path[0] != '/' && fd != AT_FDCWD))
		return descriptor_lies_below(faults, fd);
	if (sscanf(path, "/proc/self/fd/%d", &number) == 1)
		return descriptor_lies_below(faults, number);
	return lies_below(faults, path);
}

static bool thread_matches(const struct faults *faults)
{
	char name[16] = "";

	if (!faults->thread[0])
		return true;
	syscall(SYS_prctl, PR_GET_NAME, name, 0, 0, 0);
	return strncmp(name, faults->thread, strlen(faults->thread)) == 0;
}

/* The finaliser of MurmurHash3: deterministic for a seed and number. */
static uint32_t scatter(uint32_t seed, uint32_t number)
{
	uint32_t hash = seed * 0x9e3779b9u + number;

	hash = (hash ^ hash >> 16) * 0x85ebca6bu;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
	return hash ^ hash >> 16;
}

/* Returns the error with which the call has to fail, or 0. */
static uint32_t fault(enum fault_call call, int fd, const char *path)
{
	struct faults *faults = atomic_load_explicit(&applied, memory_order_acquire);

	if (!faults || atomic_load(&faults->mode) == FAULTS_OFF || !(faults->calls & 1u << call))
		return 0;

	int saved = errno;
	bool matches = thread_matches(faults) && place_matches(faults, fd, path);
	errno = saved;
	if (!matches)
		return 0;
	uint32_t number = atomic_fetch_add(&faults->seen, 1);
	if (number < FAULTS_KINDS)
		faults->kinds[number] = (uint8_t)call;
	if (atomic_load(&faults->mode) != FAULTS_FAIL || number < faults->first ||
	    number - faults->first >= faults->count ||
	    (faults->failing && !(faults->failing & 1u << call)) ||
	    (faults->odds && scatter(faults->seed, number) % faults->odds != 0))
		return 0;
	atomic_fetch_add(&faults->failed, 1);
	return faults->error;
}

/* ------------------------------------------------------------------ activation */

void faults_apply(struct faults *faults)
{
	atomic_store(&faults->pid, (uint32_t)getpid());
	atomic_store_explicit(&applied, faults, memory_order_release);
}

void faults_set(struct faults *faults, enum fault_mode mode)
{
	atomic_store(&faults->mode, FAULTS_OFF);
	atomic_store(&faults->seen, 0);
	atomic_store(&faults->failed, 0);
	atomic_store(&faults->mode, mode);
}

__attribute__((constructor)) static void map_file(void)
{
	const char *name = getenv("FAULTS_FILE");

	if (!name)
		return;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	long at = syscall(SYS_mmap, NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED,
			  fd, 0L);
	syscall(SYS_close, fd);
	if (at > 0 || at < -4095)
		mapped = (struct faults *)at;
}

/* ------------------------------------------------------------------ the calls */

static void *next_of(void *_Atomic *cache, const char *name)
{
	void *found = atomic_load_explicit(cache, memory_order_acquire);

	if (!found) {
		found = dlsym(RTLD_NEXT, name);
		if (!found)
			abort();
		atomic_store_explicit(cache, found, memory_order_release);
	}
	return found;
}

#define NEXT(name)                                          \
	({                                                  \
		static void *_Atomic cache_;                \
		(__typeof__(&name))next_of(&cache_, #name); \
	})

#define PUBLIC	  __attribute__((visibility("default")))
#define ALIAS(of) __attribute__((alias(#of), visibility("default"), copy(of)))

/* Returns `result` from the calling function if the call has to fail. */
#define FAIL_IF_SELECTED(call, fd, path, result)                 \
	do {                                                     \
		uint32_t error_ = fault(call, fd, path) & ERRNO; \
		if (error_) {                                    \
			errno = (int)error_;                     \
			return result;                           \
		}                                                \
	} while (0)

#define HAS_MODE(flags) (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE)

static mode_t mode_argument(int flags, va_list *args)
{
	return HAS_MODE(flags) ? va_arg(*args, mode_t) : 0;
}

static enum fault_call open_call(int flags)
{
	return HAS_MODE(flags) ? FAULT_CREATE : FAULT_OPEN;
}

PUBLIC int open(const char *path, int flags, ...)
{
	va_list args;

	va_start(args, flags);
	mode_t mode = mode_argument(flags, &args);
	va_end(args);
	FAIL_IF_SELECTED(open_call(flags), AT_FDCWD, path, -1);
	return NEXT(open)(path, flags, mode);
}

PUBLIC int openat(int dir, const char *path, int flags, ...)
{
	va_list args;

	va_start(args, flags);
	mode_t mode = mode_argument(flags, &args);
	va_end(args);
	FAIL_IF_SELECTED(open_call(flags), dir, path, -1);
	return NEXT(openat)(dir, path, flags, mode);
}

PUBLIC int creat(const char *path, mode_t mode)
{
	FAIL_IF_SELECTED(FAULT_CREATE, AT_FDCWD, path, -1);
	return NEXT(creat)(path, mode);
}

/* Returns how many of `len` bytes to transfer; -1: none, the call fails. */
static ssize_t share(enum fault_call call, int fd, size_t len, uint32_t *ret_error)
{
	uint32_t error = fault(call, fd, NULL);

	*ret_error = error & ERRNO;
	if (!error)
		return (ssize_t)len;
	return error & FAULT_HALF && len > 1 ? (ssize_t)(len / 2) : *ret_error ? -1 : (ssize_t)len;
}

/* Returns the result of a transfer for which share() returned `error`. */
static ssize_t outcome(ssize_t transferred, uint32_t error)
{
	if (!error)
		return transferred;
	errno = (int)error;
	return -1;
}

PUBLIC ssize_t read(int fd, void *buf, size_t len)
{
	uint32_t error;
	ssize_t n = share(FAULT_READ, fd, len, &error);

	return outcome(n < 0 ? -1 : NEXT(read)(fd, buf, (size_t)n), error);
}

PUBLIC ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	uint32_t error;
	ssize_t n = share(FAULT_READ, fd, len, &error);

	return outcome(n < 0 ? -1 : NEXT(pread)(fd, buf, (size_t)n, offset), error);
}

/* With _FORTIFY_SOURCE=3, programs call these where the compiler knows the size of the buffer. */
PUBLIC ssize_t __read_chk(int fd, void *buf, size_t len, size_t size);
PUBLIC ssize_t __read_chk(int fd, void *buf, size_t len, size_t size)
{
	if (len > size)
		abort();
	return read(fd, buf, len);
}

PUBLIC ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t size);
PUBLIC ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t size)
{
	if (len > size)
		abort();
	return pread(fd, buf, len, offset);
}

PUBLIC ssize_t readv(int fd, const struct iovec *iov, int n)
{
	FAIL_IF_SELECTED(FAULT_READ, fd, NULL, -1);
	return NEXT(readv)(fd, iov, n);
}

PUBLIC ssize_t write(int fd, const void *buf, size_t len)
{
	uint32_t error;
	ssize_t n = share(FAULT_WRITE, fd, len, &error);

	return outcome(n < 0 ? -1 : NEXT(write)(fd, buf, (size_t)n), error);
}

PUBLIC ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	uint32_t error;
	ssize_t n = share(FAULT_WRITE, fd, len, &error);

	return outcome(n < 0 ? -1 : NEXT(pwrite)(fd, buf, (size_t)n, offset), error);
}

PUBLIC ssize_t writev(int fd, const struct iovec *iov, int n)
{
	FAIL_IF_SELECTED(FAULT_WRITE, fd, NULL, -1);
	return NEXT(writev)(fd, iov, n);
}

PUBLIC int fsync(int fd)
{
	FAIL_IF_SELECTED(FAULT_SYNC, fd, NULL, -1);
	return NEXT(fsync)(fd);
}

PUBLIC int fdatasync(int fd)
{
	FAIL_IF_SELECTED(FAULT_SYNC, fd, NULL, -1);
	return NEXT(fdatasync)(fd);
}

PUBLIC int sync_file_range(int fd, off64_t offset, off64_t n, unsigned flags)
{
	FAIL_IF_SELECTED(FAULT_SYNC, fd, NULL, -1);
	return NEXT(sync_file_range)(fd, offset, n, flags);
}

PUBLIC int ftruncate(int fd, off_t len)
{
	FAIL_IF_SELECTED(FAULT_TRUNCATE, fd, NULL, -1);
	return NEXT(ftruncate)(fd, len);
}

PUBLIC int fallocate(int fd, int mode, off_t offset, off_t len)
{
	FAIL_IF_SELECTED(FAULT_TRUNCATE, fd, NULL, -1);
	return NEXT(fallocate)(fd, mode, offset, len);
}

PUBLIC int rename(const char *from, const char *to)
{
	FAIL_IF_SELECTED(FAULT_RENAME, AT_FDCWD, to, -1);
	return NEXT(rename)(from, to);
}

PUBLIC int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	FAIL_IF_SELECTED(FAULT_RENAME, to_dir, to, -1);
	return NEXT(renameat)(from_dir, from, to_dir, to);
}

PUBLIC int link(const char *from, const char *to)
{
	FAIL_IF_SELECTED(FAULT_LINK, AT_FDCWD, to, -1);
	return NEXT(link)(from, to);
}

PUBLIC int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	FAIL_IF_SELECTED(FAULT_LINK, to_dir, to, -1);
	return NEXT(linkat)(from_dir, from, to_dir, to, flags);
}

PUBLIC int unlink(const char *path)
{
	FAIL_IF_SELECTED(FAULT_UNLINK, AT_FDCWD, path, -1);
	return NEXT(unlink)(path);
}

PUBLIC int unlinkat(int dir, const char *path, int flags)
{
	FAIL_IF_SELECTED(FAULT_UNLINK, dir, path, -1);
	return NEXT(unlinkat)(dir, path, flags);
}

PUBLIC int mkdir(const char *path, mode_t mode)
{
	FAIL_IF_SELECTED(FAULT_MKDIR, AT_FDCWD, path, -1);
	return NEXT(mkdir)(path, mode);
}

PUBLIC int mkdirat(int dir, const char *path, mode_t mode)
{
	FAIL_IF_SELECTED(FAULT_MKDIR, dir, path, -1);
	return NEXT(mkdirat)(dir, path, mode);
}

PUBLIC int stat(const char *path, struct stat *st)
{
	FAIL_IF_SELECTED(FAULT_STAT, AT_FDCWD, path, -1);
	return NEXT(stat)(path, st);
}

PUBLIC int lstat(const char *path, struct stat *st)
{
	FAIL_IF_SELECTED(FAULT_STAT, AT_FDCWD, path, -1);
	return NEXT(lstat)(path, st);
}

PUBLIC int fstat(int fd, struct stat *st)
{
	FAIL_IF_SELECTED(FAULT_STAT, fd, NULL, -1);
	return NEXT(fstat)(fd, st);
}

PUBLIC int fstatat(int dir, const char *path, struct stat *st, int flags)
{
	FAIL_IF_SELECTED(FAULT_STAT, dir, path, -1);
	return NEXT(fstatat)(dir, path, st, flags);
}

PUBLIC int stat64(const char *path, struct stat64 *st)
{
	FAIL_IF_SELECTED(FAULT_STAT, AT_FDCWD, path, -1);
	return NEXT(stat64)(path, st);
}

PUBLIC int lstat64(const char *path, struct stat64 *st)
{
	FAIL_IF_SELECTED(FAULT_STAT, AT_FDCWD, path, -1);
	return NEXT(lstat64)(path, st);
}

PUBLIC int fstat64(int fd, struct stat64 *st)
{
	FAIL_IF_SELECTED(FAULT_STAT, fd, NULL, -1);
	return NEXT(fstat64)(fd, st);
}

PUBLIC int fstatat64(int dir, const char *path, struct stat64 *st, int flags)
{
	FAIL_IF_SELECTED(FAULT_STAT, dir, path, -1);
	return NEXT(fstatat64)(dir, path, st, flags);
}

PUBLIC int access(const char *path, int mode)
{
	FAIL_IF_SELECTED(FAULT_STAT, AT_FDCWD, path, -1);
	return NEXT(access)(path, mode);
}

PUBLIC DIR *fdopendir(int fd)
{
	FAIL_IF_SELECTED(FAULT_LIST, fd, NULL, NULL);
	return NEXT(fdopendir)(fd);
}

PUBLIC struct dirent *readdir(DIR *dir)
{
	FAIL_IF_SELECTED(FAULT_LIST, dirfd(dir), NULL, NULL);
	return NEXT(readdir)(dir);
}

PUBLIC struct dirent64 *readdir64(DIR *dir)
{
	FAIL_IF_SELECTED(FAULT_LIST, dirfd(dir), NULL, NULL);
	return NEXT(readdir64)(dir);
}

PUBLIC int flock(int fd, int operation)
{
	FAIL_IF_SELECTED(FAULT_LOCK, fd, NULL, -1);
	return NEXT(flock)(fd, operation);
}

PUBLIC int fcntl(int fd, int command, ...)
{
	va_list args;

	va_start(args, command);
	void *argument = va_arg(args, void *);
	va_end(args);
	if (command == F_SETLK || command == F_SETLKW || command == F_GETLK)
		FAIL_IF_SELECTED(FAULT_LOCK, fd, NULL, -1);
	return NEXT(fcntl)(fd, command, argument);
}

PUBLIC off_t lseek(int fd, off_t offset, int whence)
{
	FAIL_IF_SELECTED(FAULT_SEEK, fd, NULL, -1);
	return NEXT(lseek)(fd, offset, whence);
}

PUBLIC void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	FAIL_IF_SELECTED(FAULT_MAP, fd < 0 ? NOWHERE : fd, NULL, MAP_FAILED);
	return NEXT(mmap)(at, len, protection, flags, fd, offset);
}

PUBLIC int socket(int domain, int type, int protocol)
{
	FAIL_IF_SELECTED(FAULT_SOCKET, NOWHERE, NULL, -1);
	return NEXT(socket)(domain, type, protocol);
}

PUBLIC int socketpair(int domain, int type, int protocol, int pair[2])
{
	FAIL_IF_SELECTED(FAULT_SOCKET, NOWHERE, NULL, -1);
	return NEXT(socketpair)(domain, type, protocol, pair);
}

PUBLIC int pipe2(int pair[2], int flags)
{
	FAIL_IF_SELECTED(FAULT_SOCKET, NOWHERE, NULL, -1);
	return NEXT(pipe2)(pair, flags);
}

PUBLIC int eventfd(unsigned count, int flags)
{
	FAIL_IF_SELECTED(FAULT_SOCKET, NOWHERE, NULL, -1);
	return NEXT(eventfd)(count, flags);
}

PUBLIC int epoll_create1(int flags)
{
	FAIL_IF_SELECTED(FAULT_SOCKET, NOWHERE, NULL, -1);
	return NEXT(epoll_create1)(flags);
}

PUBLIC int accept(int fd, struct sockaddr *address, socklen_t *len)
{
	FAIL_IF_SELECTED(FAULT_ACCEPT, NOWHERE, NULL, -1);
	return NEXT(accept)(fd, address, len);
}

PUBLIC int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	FAIL_IF_SELECTED(FAULT_ACCEPT, NOWHERE, NULL, -1);
	return NEXT(accept4)(fd, address, len, flags);
}

PUBLIC int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *arg)
{
	uint32_t error = fault(FAULT_THREAD, NOWHERE, NULL);

	return error ? (int)error : NEXT(pthread_create)(thread, attributes, start, arg);
}

PUBLIC int prctl(int option, ...)
{
	unsigned long arguments[4];
	const char *name = getenv("FAULTS_PROCESS");
	va_list args;

	va_start(args, option);
	for (size_t i = 0; i < 4; i++)
		arguments[i] = va_arg(args, unsigned long);
	va_end(args);
	if (option == PR_SET_NAME && mapped && name && getpid() == gettid() &&
	    strcmp((const char *)arguments[0], name) == 0)
		faults_apply(mapped);
	return NEXT(prctl)(option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

PUBLIC int open64(const char *path, int flags, ...) ALIAS(open);
PUBLIC int openat64(int dir, const char *path, int flags, ...) ALIAS(openat);
PUBLIC int creat64(const char *path, mode_t mode) ALIAS(creat);
PUBLIC ssize_t pread64(int fd, void *buf, size_t len, off64_t offset) ALIAS(pread);
PUBLIC ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t offset) ALIAS(pwrite);
PUBLIC int ftruncate64(int fd, off64_t len) ALIAS(ftruncate);
PUBLIC int fallocate64(int fd, int mode, off64_t offset, off64_t len) ALIAS(fallocate);
PUBLIC int fcntl64(int fd, int command, ...) ALIAS(fcntl);
PUBLIC off64_t lseek64(int fd, off64_t offset, int whence) ALIAS(lseek);
PUBLIC void *mmap64(void *at, size_t len, int protection, int flags, int fd, off64_t offset)
	ALIAS(mmap);

/* ------------------------------------------------------------------ memory */

#ifdef FAULTS_MEMORY

const bool faults_reach_memory = true;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

PUBLIC void *malloc(size_t size)
{
	FAIL_IF_SELECTED(FAULT_MEMORY, NOWHERE, NULL, NULL);
	return __libc_malloc(size);
}

PUBLIC void *calloc(size_t n, size_t size)
{
	FAIL_IF_SELECTED(FAULT_MEMORY, NOWHERE, NULL, NULL);
	return __libc_calloc(n, size);
}

PUBLIC void *realloc(void *old, size_t size)
{
	FAIL_IF_SELECTED(FAULT_MEMORY, NOWHERE, NULL, NULL);
	return __libc_realloc(old, size);
}

PUBLIC void *reallocarray(void *old, size_t n, size_t size)
{
	FAIL_IF_SELECTED(FAULT_MEMORY, NOWHERE, NULL, NULL);
	if (size && n > PTRDIFF_MAX / size) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(old, n * size);
}

#else

const bool faults_reach_memory = false;

#endif
