/*
 * faults: system calls that fail on command.
 *
 * faults.c interposes on the C library's functions for the calls of `enum fault_call`. Linked into
 * a program or preloaded, it also intercepts the calls of libraries such as SQLite. A `struct
 * faults` selects the calls that fail; another process may map it and change it at any time.
 *
 * A preloaded process maps the struct from the file $FAULTS_FILE before main() begins. Faults take
 * effect once its main thread is named $FAULTS_PROCESS (prctl(2)); this selects one of several
 * processes that run the same program. They apply to its children as well.
 *
 * A match is a call of a kind in `calls`, by a thread whose name begins with `thread`, on a file
 * below the directory `below`; a call without a file matches any directory. Matches are numbered
 * from 0 since the last change of `mode`. Of the `count` matches from `first` on, those of a kind
 * in `failing` fail.
 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum fault_call {
	FAULT_OPEN,	/* open openat creat of an existing file */
	FAULT_CREATE,	/* … with O_CREAT or O_TMPFILE */
	FAULT_READ,	/* read pread readv */
	FAULT_WRITE,	/* write pwrite writev */
	FAULT_SYNC,	/* fsync fdatasync sync_file_range */
	FAULT_TRUNCATE, /* ftruncate fallocate */
	FAULT_RENAME,	/* rename renameat */
	FAULT_LINK,	/* link linkat */
	FAULT_UNLINK,	/* unlink unlinkat */
	FAULT_MKDIR,	/* mkdir mkdirat */
	FAULT_STAT,	/* stat lstat fstat fstatat access */
	FAULT_LIST,	/* fdopendir readdir */
	FAULT_LOCK,	/* flock, fcntl with F_SETLK, F_SETLKW, F_GETLK */
	FAULT_SEEK,	/* lseek */
	FAULT_MAP,	/* mmap */
	FAULT_MEMORY,	/* malloc calloc realloc; not under a sanitizer */
	FAULT_SOCKET,	/* socket socketpair pipe2 eventfd epoll_create1 */
	FAULT_ACCEPT,	/* accept accept4 */
	FAULT_THREAD,	/* pthread_create */
	FAULT_CALLS,
};

enum fault_mode {
	FAULTS_OFF,
	FAULTS_COUNT,
	FAULTS_FAIL,
};

/* Added to an errno: half of a write is done before it fails. Alone: the write is short. */
#define FAULT_HALF 0x10000

#define FAULTS_KINDS 4096

/* All little-endian 32-bit words at fixed offsets: tests/faults.py writes it as well. */
struct faults {
	_Atomic uint32_t mode;
	uint32_t calls;	  /* kinds that match; bits 1 << enum fault_call */
	uint32_t failing; /* kinds that fail; 0: all that match */
	uint32_t first;
	uint32_t count;
	uint32_t error; /* errno */
	uint32_t odds;	/* 0: all fail; else one in `odds`, chosen by `seed` */
	uint32_t seed;
	_Atomic uint32_t seen;	 /* matches */
	_Atomic uint32_t failed; /* matches that failed */
	_Atomic uint32_t pid;	 /* of the affected process */
	uint32_t device; /* what has no path and is on this st_dev counts as below; 0: nothing */
	char thread[16];
	char below[256];	     /* without symbolic links; empty: anywhere */
	uint8_t kinds[FAULTS_KINDS]; /* enum fault_call of the first matches */
};

/* Whether the calls of FAULT_MEMORY are intercepted. */
extern const bool faults_reach_memory;

/* For a program linked with faults.c: from now on the faults apply to this process. */
void faults_apply(struct faults *faults);

/* Sets the counters to 0, then the mode. */
void faults_set(struct faults *faults, enum fault_mode mode);

#endif
