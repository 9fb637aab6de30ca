/*
 * watch: reports that a watched file may have changed, so that its term is updated at once.
 *
 * One inotify descriptor and one thread serve all paths. Each path is watched through its
 * directory, by name, because files are replaced by rename more often than they are written to.
 * Watching is an accelerator: where it is not possible (limits, network file systems), terms are
 * updated at their interval. If events were lost, all paths count as changed.
 *
 * A path that is a symbolic link counts as changed with any event in its directory: Kubernetes, for
 * example, swaps a link beside it ("..data"). Each watch_recheck() looks again for directories that
 * are missing or were replaced.
 *
 * Everything belongs to the thread, except for the list of paths to recheck, which has a lock.
 */
#ifndef FETCH_WATCH_H
#define FETCH_WATCH_H

#include <stddef.h>

#include "base/cancel.h"
#include "base/err.h"

/* A file that was moved or linked to its name is complete, and reported at once. One that is
 * written in place is reported this long after the first event of a burst. It is longer than the
 * tick of file times (at most 10 ms), so that the mtime can be trusted then. */
#define WATCH_SETTLE_MS 12

struct helper;
struct watch;

/* changed() is called from the thread, with the tag of the path. helper (base/files.h) and cancel
 * are borrowed. Tags are below n_tags. */
int watch_new(struct watch **ret, size_t n_tags, struct helper *helper, struct cancel *cancel,
	      void (*changed)(void *arg, size_t tag), void *arg, struct err *err);

/* Before watch_start(). path (borrowed) is absolute; a tag may have several. */
int watch_add(struct watch *watch, const char *path, size_t tag, struct err *err);

/* Starts the thread. Waits until it watches all directories, for a second at most: the paths of
 * those that are watched later then count as changed. So no change of a path that can be watched is
 * missed after this. */
int watch_start(struct watch *watch, struct err *err);

/* Looks again for the directories of the paths with this tag. From any thread. */
void watch_recheck(struct watch *watch, size_t tag);

/* After cancellation, or before watch_start(). NULL is allowed. */
void watch_free(struct watch *watch);

#endif
