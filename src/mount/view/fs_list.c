/*
 * fs_list: READDIR and READDIRPLUS.
 *
 * The cookie of a name is its index in the directory, which never changes, so a listing that is
 * interrupted by an update continues where it was.
 */
#include "mount/view/fs_state.h"

#include <errno.h>

#include "base/util.h"

/* A reply to READDIR or READDIRPLUS under construction. */
struct listing {
	fuse_req_t req;
	bool plus;
	char *buf; /* owned */
	size_t size;
	size_t used;
};

static void listing_release(struct listing *listing)
{
	free(listing->buf);
}

/* Cookies: 1 for ".", 2 for "..", then the index of the child + 3. .rpt is not listed, so that
 * programs that copy or measure the whole mount see the terms only. */
#define COOKIE_CHILDREN 3

/* Returns false if the buffer is full. looked_up: the kernel gets the node, else only the name and
 * the type. */
static bool listing_add(struct listing *listing, const char *name, struct fuse_entry_param entry,
			bool looked_up, off_t cookie)
{
	char *at = listing->buf + listing->used;
	size_t left = listing->size - listing->used;
	size_t need;

	if (!looked_up)
		entry.ino = 0;
	need = listing->plus ? fuse_add_direntry_plus(listing->req, at, left, name, &entry, cookie)
			     : fuse_add_direntry(listing->req, at, left, name, &entry.attr, cookie);
	if (need > left)
		return false;
	listing->used += need;
	return true;
}

static bool listing_add_dots(struct listing *listing, struct stat self, struct stat parent,
			     off_t offset)
{
	if (offset < 1 && !listing_add(listing, ".", fs_entry(&self), false, 1))
		return false;
	return offset >= 2 || listing_add(listing, "..", fs_entry(&parent), false, 2);
}

static void list_tree_dir(struct fs *fs, struct listing *listing, struct tree_dir *dir,
			  off_t offset)
{
	struct fuse_entry_param entry;
	size_t i = offset >= COOKIE_CHILDREN ? (size_t)offset - COOKIE_CHILDREN + 1 : 0;

	if (!listing_add_dots(listing, fs_dir_stat(fs, dir), fs_dir_stat(fs, dir->parent), offset))
		return;
	if (listing->plus)
		atomic_store(&dir->is_listed, true);
	for (; i < dir->n_children; i++) {
		const struct tree_child *child = &dir->children[i];
		if (!fs_child_entry(fs, child, &entry))
			continue;
		/* After reading the entry: see keep_from_listings() in publisher.c. */
		bool looked_up = !child->term || atomic_load(&dir->moving) != child->term;
		if (!listing_add(listing, child->name, entry, looked_up,
				 (off_t)i + COOKIE_CHILDREN))
			return;
	}
}

/* Does not render: the names are listed without nodes, so that the kernel looks up each one. */
static void list_rpt_dir(struct fs *fs, struct listing *listing, off_t offset)
{
	size_t i = offset >= COOKIE_CHILDREN ? (size_t)offset - COOKIE_CHILDREN + 1 : 0;
	size_t n_rendered_files = fs->setup.n_rendered_files;
	const char *name;
	uint32_t ino;

	if (!listing_add_dots(listing, fs_rpt_dir_stat(fs), fs_dir_stat(fs, tree_root(fs->tree)),
			      offset))
		return;
	for (; rendered_list(fs->rendered, i, &name, &ino); i++) {
		struct stat stat = { .st_ino = ino, .st_mode = S_IFREG | 0444 };
		if (!listing_add(listing, name, fs_entry(&stat), false, (off_t)i + COOKIE_CHILDREN))
			return;
	}
	if (i > n_rendered_files)
		return;
	struct stat stat = fs_generations_stat(fs);
	listing_add(listing, GENERATIONS_NAME, fs_entry(&stat), true, (off_t)i + COOKIE_CHILDREN);
}

static void list(fuse_req_t req, uint64_t id, size_t size, off_t offset, bool plus)
{
	struct fs *fs = fuse_req_userdata(req);
	struct tree_dir *dir = tree_dir(fs->tree, id);
	_cleanup_(listing_release) struct listing listing = {
		.req = req,
		.plus = plus,
		.buf = malloc(size),
		.size = size,
	};

	if (!listing.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (dir) {
		list_tree_dir(fs, &listing, dir, offset);
	} else if (id == fs->rpt_dir_id) {
		list_rpt_dir(fs, &listing, offset);
	} else if (id == fs->pending_dir_id) {
		listing_add_dots(&listing, fs_pending_dir_stat(fs), fs_rpt_dir_stat(fs), offset);
	} else {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	fuse_reply_buf(req, listing.buf, listing.used);
}

void fs_op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		   struct fuse_file_info *info)
{
	(void)info;
	list(req, id, size, offset, false);
}

void fs_op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		       struct fuse_file_info *info)
{
	(void)info;
	list(req, id, size, offset, true);
}
