/*
 * fs_state: the state that the FUSE handlers share. For the fs*.c files only.
 */
#ifndef MOUNT_VIEW_FS_STATE_H
#define MOUNT_VIEW_FS_STATE_H

#ifndef FUSE_USE_VERSION
#	define FUSE_USE_VERSION 312
#endif
#include <fuse_lowlevel.h>

#include "mount/connection/inflight.h"
#include "mount/connection/session.h"
#include "mount/namespace/generations.h"
#include "mount/namespace/nodes.h"
#include "mount/namespace/pending_moves.h"
#include "mount/namespace/tree.h"
#include "mount/publish/publish_queue.h"
#include "mount/view/fs.h"
#include "mount/view/rendered.h"
#include "mount/view/spare_fd.h"
#include "mount/view/verifier.h"

/* Content never changes under a node id, and the kernel is notified of all other changes. */
#define FS_FOREVER_S 1e9

/* Set by fs_new() and fs_start(), and constant while requests are served. */
struct fs {
	struct session *session; /* first: session.c finds it through the user data */
	struct fs_setup setup;
	struct tree *tree;
	struct nodes *nodes;
	struct rendered *rendered;
	struct publish_queue *publish_queue;
	struct verifier *verifier;
	struct spare_fd *spare_fd;
	uint64_t rpt_dir_id;
	struct generations *generations;
	uint64_t generations_id;
	struct pending_moves *pending_moves;
	uint64_t pending_dir_id;
	struct publisher_held_back *held_back; /* owned, until it is the publisher's */
	size_t n_held_back;
	bool is_successor;  /* on this mount; set by fs_start() */
	int64_t started_ns; /* wall clock; times of .rpt */
	struct former_term *former_terms;
	struct inflight *inflight; /* borrowed; set by fs_start() */
	uint64_t attributes;	   /* a hash of the owners and modes that stat(2) shows */
};

/* fs_still_held.c: former terms are no longer configured, but the kernel may hold nodes of them,
 * which are served like all others. No name points to them. */
struct former_term;
int fs_enter_held(struct fs *fs, struct err *err);
void fs_free_former_terms(struct fs *fs);

/* fs_attr.c: the results of stat(2). */
struct stat fs_dir_stat(const struct fs *fs, const struct tree_dir *dir);
struct stat fs_rpt_dir_stat(const struct fs *fs);
struct stat fs_snapshot_stat(const struct snapshot *snapshot, const struct term *term,
			     bool superseded);
struct stat fs_pending_dir_stat(const struct fs *fs);
struct stat fs_generations_stat(const struct fs *fs);
struct stat fs_rendering_stat(const struct fs *fs, const struct rendering *rendering);
struct fuse_entry_param fs_entry(const struct stat *stat);

/* A hash of owners and modes; never 0. */
uint64_t fs_attributes(const struct fs_setup *setup);

/* The entry of a child; false if it is a term without a snapshot. */
bool fs_child_entry(const struct fs *fs, const struct tree_child *child,
		    struct fuse_entry_param *ret);

/* fs_hold_back.c: a snapshot that a predecessor committed but did not show is held back until the
 * publisher publishes it. Until then the name points to the old one. */
int fs_hold_back(struct fs *fs, struct err *err);
void fs_free_held_back(struct fs *fs);

/* fs_rename.c: the only renames and removals are those of the publisher. */
void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		  const char *new_name, unsigned flags);
void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);

/* fs_generations.c: sets the words when serving begins. A program that sees a word and opens the
 * file must not get an older snapshot, so a name keeps its old word until the publisher has
 * announced a move that the kernel may not know. */
int fs_enter_generations(struct fs *fs, struct err *err);

/* fs_read.c */
void fs_op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		struct fuse_file_info *info);

/* fs_list.c */
void fs_op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		   struct fuse_file_info *info);
void fs_op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		       struct fuse_file_info *info);

#endif
