/*
 * rpt.h: the current content of a file, mapped into memory, for programs that need it often.
 *
 * Open a term (a file of an rptfs mount) once. rpt_term_get() then returns the address of its
 * current snapshot: complete, of one version, and not copied. While nothing has changed, a get
 * takes a few nanoseconds and makes no system call. After a new version was published, the next
 * get maps it.
 *
 *	struct rpt_term *term;
 *	struct rpt_value value;
 *
 *	int r = rpt_term_open(&term, "/mnt/rpt/flags.json");
 *	if (r < 0)
 *		errx(1, "/mnt/rpt/flags.json: %s", strerror(-r));
 *	...
 *	r = rpt_term_get(term, &value);         // as often as you like
 *	if (r == 0)
 *		use(value.data, value.size);    // until this handle's next get
 *	...
 *	rpt_term_close(term);
 *
 * Link with `pkg-config --cflags --libs rpt`. Neither a running daemon nor any other part of rptfs
 * is needed to build or to run a program. On other file systems the same calls work, at the cost of
 * one stat(2) per get.
 *
 * Handles
 *	Only one thread at a time may use a handle. Give each thread its own: handles share no
 *	memory that is written to. A handle takes about 400 bytes, two pages that are locked in
 *	memory as far as RLIMIT_MEMLOCK allows, and the mapping of the file; no file descriptor.
 *	After fork(2) parent and child may both use it, and each closes its own copy.
 *	Do not call these functions from a signal handler.
 *	A relative path is resolved against the working directory at rpt_term_open().
 *
 * Guarantees
 *	Within one mount, a get never returns an older snapshot than the get before. Once an update
 *	is published (the name leads to it, and its word in .rpt/generations has changed), every
 *	get returns that version or a newer one.
 *	The first get in each second of the wall clock checks with one stat(2), which causes no
 *	request to rptfs, that the path still leads to the same file. This is how a handle notices
 *	that a mount was replaced without an orderly end (its keeper was killed): within the next
 *	second, or at the next get if that comes later. The next get notices an orderly unmount.
 *
 * When the mount goes away
 *	The last value stays: get succeeds, with `detached` set, until the path leads to a file
 *	again. To make the value independent of the mount, the get that notices the end copies the
 *	bytes to where they are mapped. More than 1 MiB is locked in memory instead, once for all
 *	handles, and copied only if locking is not allowed. (A child that is forked later does not
 *	inherit the lock.)
 *	Bytes that were not in memory are lost with the mount. In that case get returns -ENOTCONN,
 *	and the old bytes must not be touched. To be safe, read or mlock(2) them while the mount
 *	exists.
 *	While a handle is open, umount(8) reports that the mount is busy, as for any open file.
 *	SIGTERM to rptfs, systemctl stop and umount -l end the mount nevertheless.
 *	A mount whose rptfs processes were all killed looks like one without updates. If its pages
 *	of words could not be locked, and the kernel reclaims them, get raises SIGBUS.
 *
 * Other file systems, and rptfs mounts without .rpt (a bind mount of one of their directories)
 *	A get is a stat(2). A file that is replaced with rename(2) behaves like a term. A file that
 *	is written in place may be seen half-written, and touching a mapping of a file that was
 *	truncated raises SIGBUS: both are true of every mapping.
 *
 * All functions return 0 (or what their comment says) or a negative errno. They do not set errno.
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

/* The result of the last successful get. The handle owns all of it. It is valid until the next get
 * that succeeds with a different serial, or until the handle is closed. */
struct rpt_value {
	const void *data;    /* never NULL; not NUL-terminated */
	size_t size;	     /* bytes; 0 for an empty file */
	const char *version; /* user.rpt.version (e.g. an ETag), or SIZE-MTIME-INODE without one */
	uint64_t serial;     /* 1, then one more with each new snapshot; the same serial means
				the same bytes at the same address */
	int detached;	     /* 1: the mount is gone, and this is its last value */
};

/* Opens a term and maps its current snapshot.
 *
 * Errors are those of open(2) and mmap(2), such as
 *	-ENOENT		there is no such file (for a term: no snapshot yet, expired, or removed)
 *	-EISDIR, -EINVAL the path leads to a directory, or to another non-regular file
 *	-ENAMETOOLONG	the path, made absolute, has PATH_MAX bytes or more
 *	-ENOTCONN	the mount is dead
 *	-ENOMEM
 */
int rpt_term_open(struct rpt_term **ret, const char *path);

/* Returns the current snapshot.
 *
 * If nothing has changed, this takes two loads of mapped memory and time(2), which is a load as
 * well, and makes no system call. Otherwise it takes a stat(2), and for a new snapshot also opens
 * and maps its file. That may wait for rptfs: microseconds, or some tens of milliseconds while a
 * new worker takes over from one that died.
 *
 * On failure *ret is untouched, and the last value stays valid (except after -ENOTCONN):
 *	-ENOENT		the term was removed, or has expired and is hidden. Each get returns this
 *			until the term is back
 *	-ENOTCONN	the mount is gone, and some bytes of the last value with it
 *	-EMFILE, -ENOMEM, -EACCES, …	there may be a new version, but it could not be opened; the
 *			next get tries again
 */
int rpt_term_get(struct rpt_term *term, struct rpt_value *ret);

enum rpt_state {
	RPT_UNCHANGED = 0, /* get would return the same value */
	RPT_CHANGED = 1,   /* get would probably return a different value */
	RPT_DETACHED = 2,  /* get would return the same value; the mount is gone */
};

/* Returns what rpt_term_get() would find, and leaves the value valid: an enum rpt_state, or get's
 * negative errno. For programs that must release what they hold before the next get. Costs as much
 * as a get. */
int rpt_term_check(struct rpt_term *term);

/* Closes the handle and unmaps its value. NULL is allowed. */
void rpt_term_close(struct rpt_term *term);

#if defined(__GNUC__)
#	pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
