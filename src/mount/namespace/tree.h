/*
 * tree: the directories of the terms' names.
 *
 * Built once and then immutable, so look-ups take no lock; only the mtime of a directory changes,
 * and only rises. A directory exists if a term is configured below it. Whether the name of a term
 * exists depends on its snapshot, not on the tree.
 *
 * The kernel may still know a directory of a predecessor below which no term is configured now.
 * Such a directory is retired: it is found by its id, empty, and not listed.
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

/* Either a term or a directory. Its index in the directory never changes. */
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
	atomic_uint n_lookups; /* of terms, since they last caused it to be listed */
	/* A listing in flight may carry nodes of terms. */
	atomic_bool is_listed;
	/* Listings come without the node of this term; NULL: with all. Set by the publisher. */
	_Atomic(const struct term *) moving;
};

struct tree;

/* The terms are sorted by name. Ids of directories come from the store. */
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

/* Adds the directories above a name that is no longer configured. Before other threads use the
 * tree. */
int tree_retire(struct tree *tree, const char *name, struct store *store, struct err *err);

/* All directories, each after its parent. */
struct tree_dir *const *tree_dirs(const struct tree *tree, size_t *ret_n);

/* The directory of the term's name, and its last component (borrowed). */
struct tree_dir *tree_place(struct tree *tree, const struct term *term, const char **ret_name);

/* The directory changed now: its mtime becomes strictly later than before. */
void tree_touch(struct tree_dir *dir);

#endif
