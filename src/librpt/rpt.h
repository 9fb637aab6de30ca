/*
 * rpt.h: the current bytes of a file, from memory, for programs that need them often.
 *
 * A term of an rptfs mount (a file below it) is opened once. rpt_term_get() then says where in
 * memory the bytes of its current snapshot are: complete, of one version, and not copied. While
 * nothing has changed this costs a few nanoseconds and no system call; when a new version was
 * published, the next get maps it.
 *
 *	struct rpt_term *term;
 *	struct rpt_value value;
 *
 *	int r = rpt_term_open(&term, "/mnt/rpt/flags.json");
 *	if (r < 0)
 *		errx(1, "/mnt/rpt/flags.json: %s", strerror(-r));
 *	...
 *	r = rpt_term_get(term, &value);         // as often as you like: before each request, say
 *	if (r == 0)
 *		use(value.data, value.size);    // until this handle's next get
 *	...
 *	rpt_term_close(term);
 *
 * Link with `pkg-config --cflags --libs rpt`. No daemon and nothing of rptfs is needed to build or
 * to run; on any other file system the same calls work, with one stat(2) a get.
 *
 * Handles
 *	One thread at a time may use a handle; several threads open one each, so that they share
 *	nothing that is written. A handle is some 400 bytes, two pages that are locked in memory
 *	as far as RLIMIT_MEMLOCK goes, and the mapping of the file; no file descriptor.
 *	After fork(2) parent and child may both go on with it, and each closes its own.
 *	Nothing here may be called by a signal handler.
 *	A relative path is taken from where the process is at rpt_term_open().
 *
 * What a get may rely on
 *	On one mount, it never goes back to an older snapshot. Once an update was published (the
 *	name leads to it, and its word in .rpt/generations says so), each get gives it or a newer
 *	one.
 *	The first get in each second of the wall clock makes sure, with one stat(2) that sends
 *	rptfs no request, that the path still leads to the same file. So a mount that was replaced
 *	without an orderly end (its keeper was killed) is noticed by gets in the next second, and
 *	by the next get of a handle that is used less often. An orderly unmount is noticed by the
 *	next get.
 *
 * The mount goes away
 *	The last value stays: get succeeds, and says so in `detached`, until the path leads to a
 *	file again. So that the bytes need the mount no more, they are copied then, to where they
 *	are mapped; more than 1 MiB is locked in memory instead, once for all handles, and copied
 *	only if that is not allowed (a child that is forked later does not inherit the lock).
 *	Bytes that were not in memory went with the mount; if there are such, get says -ENOTCONN,
 *	and the old bytes must not be touched. To be sure of them, read or mlock(2) them while the
 *	mount is there.
 *	As long as a handle is open, umount(8) says that the mount is busy, as with any open file;
 *	SIGTERM to rptfs, systemctl stop and umount -l end it nevertheless.
 *	A mount whose rptfs was killed altogether is as silent as one that has no news. If its
 *	pages of words could not be locked, and the kernel takes them back, get raises SIGBUS.
 *
 * Other file systems, and mounts of rptfs without .rpt (a bind mount of one of its directories)
 *	A get is a stat(2). A file that is replaced with rename(2) is as good as a term. One that
 *	is written in place is seen half-way, and one that is cut while it is mapped raises SIGBUS
 *	when it is touched: both are true of every mapping of it.
 *
 * All functions return 0 (or what they say) or a negative errno; errno itself is not used.
 */
#ifndef RPT_H
#define RPT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#	pragma GCC visibility push(default)
#endif

struct rpt_term;

/* What was current at the last successful get. All of it is the handle's, and valid until the next
 * get that succeeds and has another serial, or until the handle is closed. */
struct rpt_value {
	const void *data;    /* never NULL; no NUL follows it */
	size_t size;	     /* bytes; 0 for an empty file */
	const char *version; /* user.rpt.version (an ETag, say); without one SIZE-MTIME-INODE */
	uint64_t serial;     /* 1, and one more with each other snapshot; the same serial means
				the same bytes at the same place */
	int detached;	     /* 1: the mount is gone, and this is the last that is known */
};

/* Opens a term and maps its current snapshot; a later get has something in any case.
 *
 * What open(2) and mmap(2) say, such as
 *	-ENOENT		there is no such file (of a term: no snapshot of it yet, expired, removed)
 *	-EISDIR, -EINVAL it is a directory; it is another thing that is not a regular file
 *	-ENAMETOOLONG	with the working directory before it the path has PATH_MAX bytes or more
 *	-ENOTCONN	the mount is dead
 *	-ENOMEM
 */
int rpt_term_open(struct rpt_term **ret, const char *path);

/* The current snapshot.
 *
 * Where nothing has changed: two loads of mapped memory and time(2), which is a load as well; no
 * system call. Else a stat(2), and if there is a new snapshot, its file is opened and mapped. That
 * may wait for rptfs: microseconds, or some ten milliseconds while it takes over from a worker that
 * died.
 *
 * On failure *ret is untouched, and the value of the last success is still valid (but after
 * -ENOTCONN):
 *	-ENOENT		the term was removed, or has expired and is hidden. Each get says so, until
 *			it is there again
 *	-ENOTCONN	the mount is gone, and with it some bytes of the last value
 *	-EMFILE, -ENOMEM, -EACCES, …	there may be a new version, but it could not be opened; the
 *			next get tries again
 */
int rpt_term_get(struct rpt_term *term, struct rpt_value *ret);

enum rpt_state {
	RPT_UNCHANGED = 0, /* get would give the same value */
	RPT_CHANGED = 1,   /* get is likely to give another one */
	RPT_DETACHED = 2,  /* get would give the same value: the mount is gone */
};

/* What rpt_term_get() would do, without doing it: the value stays valid. For programs that have
 * to let go of what they hold before the next get. An enum rpt_state, or get's negative errno;
 * costs what get costs. */
int rpt_term_check(struct rpt_term *term);

/* Unmaps what get returned. NULL is allowed. */
void rpt_term_close(struct rpt_term *term);

#if defined(__GNUC__)
#	pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
