/*
 * fs: the mounted terms as the kernel sees them, and the publisher that moves names.
 *
 * One node id per snapshot, never used again, so that the kernel may cache everything for ever:
 * OPEN and OPENDIR are answered with ENOSYS, entries and attributes have infinite timeouts, and a
 * warm reader causes no request at all. What changes is told to the kernel by the publisher.
 *
 * fs does not know that there is a network or a fetcher; virtual files are handed in as callbacks.
 */
#ifndef MOUNT_VIEW_FS_H
#define MOUNT_VIEW_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cancel.h"
#include "base/err.h"
#include "mount/publish/publish_counts.h"
#include "mount/view/rendered.h"
#include "store/store.h"
#include "term/term.h"

struct fs;
struct spare_memory;
struct notifier;
struct inflight;
struct visitor;

struct fs_setup {
	struct term *terms; /* borrowed; sorted by name */
	size_t n_terms;
	uint32_t last_slot;  /* the largest that any term has, configured or not; 0: none has one */
	struct store *store; /* borrowed */
	struct cancel *cancel;	   /* borrowed */
	struct notifier *notifier; /* borrowed */
	struct visitor *visitor;   /* borrowed; NULL: nobody is to look at the mount */
	bool renames;		   /* the visitor has a writable handle */
	const struct spare_memory *spare_memory; /* borrowed; NULL: there is always memory enough */
	uint64_t prewarm_total_bytes;
	const char *control_path;		    /* user.rpt.control of the root; borrowed */
	const struct rendered_file *rendered_files; /* borrowed, n_rendered_files of them */
	size_t n_rendered_files;
	uid_t owner; /* of directories, and of files that are no term's */
	gid_t owner_group;

	/* Called (from any thread) when bytes of a term's current snapshot turned out corrupt and
	 * were dropped: somebody should fetch them again. */
	void (*lost)(void *arg, struct term *term);
	void *lost_arg;
};

/* Includes whatever else the kernel may hold of this mount, which the store knows. */
int fs_new(struct fs **ret, const struct fs_setup *setup, struct err *err);

/* Would fs_start() negotiate what this mount was negotiated with? ERR_BAD_DATA, naming the
 * difference, if not. Needs neither store nor device, for a worker that stands by. */
int fs_rehearse(struct inflight *inflight, struct err *err);

/*
 * Serves the connection `device` (borrowed: a duplicate is made) in threads of its own. When the
 * slots (borrowed) say that somebody served it before, takes over: first the requests that were
 * left, then new ones; meanwhile the publisher announces what may not have been announced.
 * ERR_BAD_DATA as fs_rehearse().
 */
int fs_start(struct fs *fs, int device, struct inflight *inflight, bool debug, struct err *err);

/* Readable once nothing is served any more: because it was unmounted? */
int fs_over_fd(const struct fs *fs);
bool fs_was_unmounted(const struct fs *fs);

/* Ends all threads; then frees. setup.cancel must have been requested if fs_start() was called.
 * Each request that was taken is answered, or stays in its slot for a successor. */
void fs_free(struct fs *fs);

/* The mount is over, or out of reach: says so in .rpt/generations. Does not block. */
void fs_announce_end(struct fs *fs);

/* As fetch_env.publish; arg is the struct fs. */
int fs_publish(void *arg, struct term *term, struct snapshot *snapshot, struct err *err);

/* Blocks until all that a predecessor has begun is done, or for so long. At once on a mount that
 * had none. */
void fs_wait_taken_over(struct fs *fs, int64_t limit_ms);

/* How names move: PUBLISHER_RENAMES or PUBLISHER_NOTIFIES (mount/publish/publisher.h). */
const char *fs_publish_mode(const struct fs *fs);

/* For metrics. */
void fs_publish_counts(struct fs *fs, struct publish_counts *ret);

/* For metrics: calls with each FUSE operation that was received, in lower case ("lookup"), and how
 * often. */
void fs_request_counts(struct fs *fs, void (*each)(void *arg, const char *op, uint64_t count),
		       void *arg);

#endif
