/*
 * fs: the mounted file system: the handlers of the kernel's requests, and the publisher.
 *
 * Each snapshot has a node id that is never used again, so the kernel may cache everything for
 * ever: OPEN and OPENDIR are answered with ENOSYS, entries and attributes have infinite timeouts,
 * and a warm reader causes no request at all. The publisher notifies the kernel of changes.
 *
 * fs depends on neither network nor fetchers; callbacks render the files of .rpt/.
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
	uint32_t last_slot;	   /* the largest of any term, configured or not; 0: none */
	struct store *store;	   /* borrowed */
	struct cancel *cancel;	   /* borrowed */
	struct notifier *notifier; /* borrowed */
	struct visitor *visitor;   /* borrowed; NULL: none */
	bool renames;		   /* the visitor has a writable handle */
	const struct spare_memory *spare_memory; /* borrowed; NULL: memory is always sufficient */
	uint64_t prewarm_total_bytes;
	const char *control_path;		    /* user.rpt.control of the root; borrowed */
	const struct rendered_file *rendered_files; /* borrowed, n_rendered_files of them */
	size_t n_rendered_files;
	const struct term_rights *rights; /* borrowed; which user sees which terms */
	struct budget *budget;		  /* borrowed; of users other than root and the owner */
	uid_t owner;			  /* of directories and of the files in .rpt */
	gid_t owner_group;

	/* Called from any thread when the current snapshot of a term was found corrupt and was
	 * dropped, so that it is fetched again. */
	void (*lost)(void *arg, struct term *term);
	void *lost_arg;
};

/* Also adds all other snapshots of this mount that the kernel may hold according to the store. */
int fs_new(struct fs **ret, const struct fs_setup *setup, struct err *err);

/* Checks that fs_start() would negotiate the same as this mount did. ERR_BAD_DATA, naming the
 * difference, if not. Needs neither store nor device, for a worker on standby. */
int fs_rehearse(struct inflight *inflight, struct err *err);

/*
 * Serves the connection `device` (borrowed; duplicated) in threads of its own. If the memfd of
 * requests in flight (borrowed) shows that a predecessor served it, takes over: first the requests
 * that are left are answered, then new ones. Meanwhile the publisher announces what the kernel may
 * not know. ERR_BAD_DATA as for fs_rehearse().
 */
int fs_start(struct fs *fs, int device, struct inflight *inflight, bool debug, struct err *err);

/* Readable when serving has ended, perhaps because it was unmounted. */
int fs_over_fd(const struct fs *fs);
bool fs_was_unmounted(const struct fs *fs);

/* Ends all threads; then frees. setup.cancel must have been requested if fs_start() was called.
 * Each request that was received is answered, or stays in its record for a successor. */
void fs_free(struct fs *fs);

/* The mount is over or unreachable: notes that in .rpt/generations. Does not block. */
void fs_announce_end(struct fs *fs);

/* Implements fetch_env.publish; arg is the struct fs. */
int fs_publish(void *arg, struct term *term, struct snapshot *snapshot, struct err *err);

/* Blocks until everything that a predecessor began is finished, at most limit_ms. Returns at once
 * if there was no predecessor. */
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
