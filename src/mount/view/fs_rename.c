/*
 * fs_rename: RENAME and UNLINK, which the visitor causes for the publisher.
 *
 * The kernel holds the locks of the directories and waits for the answer, so there is no I/O and no
 * waiting here. All state is final before the answer, because a successor may have to repeat it.
 */
#include "mount/view/fs_state.h"

#include <errno.h>

/* The name points elsewhere now, and the kernel gets its answer next. From then on the old snapshot
 * must have no link, or its watchers are not told of its end. */
static void note_moved(void *arg, struct term *term, uint64_t from, uint64_t to)
{
	struct fs *fs = arg;
	const char *name;

	tree_touch(tree_place(fs->tree, term, &name));
	if (from)
		nodes_supersede(fs->nodes, from);
	if (to)
		inflight_note_announced(fs->inflight, to);
}

static struct term *term_at(struct fs *fs, uint64_t parent, const char *name)
{
	const struct tree_dir *dir = tree_dir(fs->tree, parent);
	const struct tree_child *child = dir ? tree_child(dir, name) : NULL;

	return child ? child->term : NULL;
}

void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		  const char *new_name, unsigned flags)
{
	struct fs *fs = fuse_req_userdata(req);
	struct term *term = term_at(fs, new_parent, new_name);

	if (flags || parent != fs->pending_dir_id || !term)
		fuse_reply_err(req, EROFS);
	else
		fuse_reply_err(req,
			       pending_moves_rename(fs->pending_moves, name, term, note_moved, fs)
				       ? 0
				       : EAGAIN);
}

void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct term *term = term_at(fs, parent, name);

	if (!term)
		fuse_reply_err(req, EROFS);
	else
		fuse_reply_err(req, pending_moves_remove(fs->pending_moves, term, note_moved, fs)
					    ? 0
					    : EAGAIN);
}
