/*
 * watch: says that a file may have changed, so that its term is asked for at once.
 *
 * One inotify descriptor and one thread for all watched paths. What is watched is the directory of
 * each path, by name: files are replaced by rename more often than they are written to. Watching is
 * an accelerator and promises nothing: when a watch cannot be had (limits, network file systems),
 * terms follow at their interval. When events were lost, all paths count as changed.
 *
 * A path that is a symbolic link counts as changed with any event in its directory: Kubernetes and
 * others swap a link beside it ("..data"). Directories that are missing, or were replaced, are
 * looked for again with each watch_recheck().
 *
 * All of it belongs to the thread, but for the list of paths to recheck, behind a lock.
 */
#ifndef FETCH_WATCH_H
#define FETCH_WATCH_H

#include <stddef.h>

#include "base/cancel.h"
#include "base/err.h"

/* A burst of events makes one call. Longer than the tick of file times (10 ms at most), so that
 * whoever reads the file then can trust its mtime. */
#define WATCH_SETTLE_MS 12

struct helper;
struct watch;

/* changed() is called from the thread, with the tag of the path. helper (base/files.h) and cancel are
 * borrowed. Tags are below n_tags. */
int watch_new(struct watch **ret, size_t n_tags, struct helper *helper, struct cancel *cancel,
	      void (*changed)(void *arg, size_t tag), void *arg, struct err *err);

/* Before watch_start(). path (borrowed) is absolute; a tag may have several. */
int watch_add(struct watch *watch, const char *path, size_t tag, struct err *err);

/* From here on no change is missed, as far as watches can be had. */
int watch_start(struct watch *watch, struct err *err);

/* Looks again for the directories of this tag's paths; from any thread. */
void watch_recheck(struct watch *watch, size_t tag);

/* After cancellation, or if it was never started. */
void watch_free(struct watch *watch);

#endif
