/*
 * faults: system calls that fail on command.
 *
 * faults.c defines the calls of `enum fault_call` over the C library's. Linked to a program, or
 * preloaded by one, it sees the calls of its libraries as well, SQLite's for example. What is to
 * fail is said in a `struct faults`, which another process may map and change at any time.
 *
 * Preloaded, a process finds the struct in the file $FAULTS_FILE, mapped before main() begins. It
 * obeys once its main thread takes the name $FAULTS_PROCESS (prctl(2)), so that of several
 * processes that run the same program one is chosen. Its children count as well.
 *
 * A match is a call of a kind in `calls`, by a thread whose name begins with `thread`, on a file
 * below the directory `below` (calls that have no file match as if they had one there). Matches
 * are numbered from 0 since the last change of `mode`; of the `count` matches from `first` on,
 * those of a kind in `failing` fail.
 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum fault_call {
	FAULT_OPEN,	/* open openat creat: what exists */
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
	FAULT_MEMORY,	/* malloc calloc realloc; not where a sanitizer sees to them */
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

/* Added to an errno: half of a write is done before it fails. Alone: half of it, and success. */
#define FAULT_HALF 0x10000

#define FAULTS_KINDS 4096

/* All of it little-endian 32-bit words at fixed places: tests/faults.py writes it as well. */
struct faults {
	_Atomic uint32_t mode;
	uint32_t calls;	  /* that match; bits 1 << enum fault_call */
	uint32_t failing; /* of these, those that fail; 0: all of them */
	uint32_t first;
	uint32_t count;
	uint32_t error; /* errno */
	uint32_t odds;	/* 0: all of them; else one of so many, as `seed` has it */
	uint32_t seed;
	_Atomic uint32_t seen;	 /* matches */
	_Atomic uint32_t failed; /* of them */
	_Atomic uint32_t pid;	 /* of the process that obeys */
	char thread[16];
	char below[256];	     /* without symbolic links; empty: anywhere */
	uint8_t kinds[FAULTS_KINDS]; /* enum fault_call of the first matches */
};

/* Are the calls of FAULT_MEMORY among those that are seen? */
extern const bool faults_reach_memory;

/* For a program that faults.c is linked to: this process obeys from now on. */
void faults_obey(struct faults *faults);

/* Sets the counters to 0, then the mode. */
void faults_set(struct faults *faults, enum fault_mode mode);

#endif
