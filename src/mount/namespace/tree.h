/*
 * tree: the directories that the names of the terms make up.
 *
 * Built once and immutable, so that look-ups take no lock; only a directory's mtime changes, and
 * it only rises. A directory is there as soon as a term is configured below it. Whether a term's
 * name is there is the term's matter (has it a snapshot?), not the tree's.
 *
 * A directory below which nothing is configured any more may still be known to a kernel that was
 * served by a predecessor: it is retired, which is to say found by its id, empty, and not listed.
 */
#ifndef MOUNT_NAMESPACE_TREE_H
#define MOUNT_NAMESPACE_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"
#include "term/term.h"

#define TREE_ROOT_ID 1
#define RPT_DIR_NAME ".rpt" /* in the root, beside the terms */

struct tree_dir;

/* Either a term or a directory. Its place in the directory's array never changes. */
struct tree_child {
	const char *name; /* the last component; borrowed */
	struct tree_dir *dir;
	struct term *term;
};

struct tree_dir {
	uint64_t id;		     /* node id and st_ino, the same over restarts */
	struct tree_dir *parent;     /* the root's is itself */
	char *path;		     /* "geo/europe"; "" for the root */
	struct tree_child *children; /* sorted by name */
	size_t n_children;
	size_t n_subdirs;
	bool retired;
	_Atomic int64_t mtime_ns;
	atomic_uint n_lookups; /* of terms, since it was last listed on their account */
	/* A listing that is still on its way may have given the kernel nodes of terms. */
	atomic_bool is_listed;
	/* Listings give no node of this one meanwhile; NULL: of all. Set by the publisher. */
	_Atomic(const struct term *) moving;
};

struct tree;

/* terms are sorted by name; ids of directories come from the store. */
int tree_new(struct tree **ret, struct term *terms, size_t n_terms, struct store *store,
	     struct err *err);
void tree_free(struct tree *tree);

struct tree_dir *tree_root(struct tree *tree);

/* NULL if no directory has that id. */
struct tree_dir *tree_dir(struct tree *tree, uint64_t id);

/* Its last component (borrowed). */
const char *tree_name(const struct tree_dir *dir);

/* NULL if the directory has no such child. */
const struct tree_child *tree_child(const struct tree_dir *dir, const char *name);

/* Before the tree is used by others: makes sure that the directories above a name that is no longer
 * configured are found. */
int tree_retire(struct tree *tree, const char *name, struct store *store, struct err *err);

/* All directories, each behind its parent. */
struct tree_dir *const *tree_dirs(const struct tree *tree, size_t *ret_n);

/* The directory that holds the term's name, and the name in it (borrowed). */
struct tree_dir *tree_place(struct tree *tree, const struct term *term, const char **ret_name);

/* Something in the directory changed now: its mtime becomes strictly later than it was. */
void tree_touch(struct tree_dir *dir);

#endif
