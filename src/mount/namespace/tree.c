#include "mount/namespace/tree.h"

#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"

/* A directory in the two hashes that find it by id and by path. */
struct entry {
	struct tree_dir dir;
	size_t capacity; /* of dir.children */
	UT_hash_handle by_id;
	UT_hash_handle by_path;
};

struct tree {
	struct entry *root;
	struct entry *by_id; /* owns the entries */
	struct entry *by_path;
	struct tree_dir **dirs; /* n_dirs of them, in the order of their creation */
	size_t n_dirs;
};

static void entry_free(struct entry *entry)
{
	if (!entry)
		return;
	free(entry->dir.path);
	free(entry->dir.children);
	free(entry);
}

void tree_free(struct tree *tree)
{
	struct entry *entry, *next;

	if (!tree)
		return;
	HASH_CLEAR(by_path, tree->by_path);
	HASH_ITER(by_id, tree->by_id, entry, next) {
		HASH_DELETE(by_id, tree->by_id, entry);
		entry_free(entry);
	}
	free(tree->dirs);
	free(tree);
}

DEFINE_CLEANUP(struct tree, tree_free)

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "directories: out of memory");
}

static int add_child(struct entry *entry, struct tree_child child, struct err *err)
{
	struct tree_dir *dir = &entry->dir;

	if (dir->n_children == entry->capacity) {
		size_t capacity = entry->capacity ? 2 * entry->capacity : 4;
		struct tree_child *grown = realloc(dir->children,
						   capacity * sizeof(*dir->children));
		if (!grown)
			return out_of_memory(err);
		dir->children = grown;
		entry->capacity = capacity;
	}
	dir->children[dir->n_children++] = child;
	dir->n_subdirs += child.dir != NULL;
	return 0;
}

DEFINE_CLEANUP(struct entry, entry_free)

/* Enters it in both hashes. */
static int enter(struct tree *tree, struct entry *entry, struct err *err)
{
	size_t len = strlen(entry->dir.path);

	HASH_ADD(by_id, tree->by_id, dir.id, sizeof(entry->dir.id), entry);
	if (!hash_has(entry, by_id))
		return out_of_memory(err);
	HASH_ADD_KEYPTR(by_path, tree->by_path, entry->dir.path, len, entry);
	if (hash_has(entry, by_path))
		return 0;
	HASH_DELETE(by_id, tree->by_id, entry);
	return out_of_memory(err);
}

static int new_entry(struct tree *tree, const char *path, size_t len, uint64_t id,
		     struct entry **ret, struct err *err)
{
	struct tree_dir **grown = realloc(tree->dirs, (tree->n_dirs + 1) * sizeof(*grown));

	if (!grown)
		return out_of_memory(err);
	tree->dirs = grown;
	_cleanup_(entry_free_cleanup) struct entry *entry = calloc(1, sizeof(*entry));
	if (!entry || !(entry->dir.path = strndup(path, len)))
		return out_of_memory(err);
	entry->dir.id = id;
	atomic_init(&entry->dir.mtime_ns, clock_wall_ns());
	atomic_init(&entry->dir.is_listed, true); /* perhaps by a predecessor */
	if (enter(tree, entry, err) < 0)
		return -1;
	tree->dirs[tree->n_dirs++] = &entry->dir;
	*ret = steal_ptr(&entry);
	return 0;
}

static size_t parent_length(const char *path, size_t len)
{
	while (len > 0 && path[len - 1] != '/')
		len--;
	return len > 0 ? len - 1 : 0;
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Finds the directory of that path, or makes it and its parents. */
static int need_dir(struct tree *tree, const char *path, size_t len, bool retired,
		    struct store *store, struct entry **ret, struct err *err)
{
	struct entry *entry = NULL, *parent = NULL;
	uint64_t id;

	HASH_FIND(by_path, tree->by_path, path, len, entry);
	if (entry) {
		*ret = entry;
		return 0;
	}
	if (need_dir(tree, path, parent_length(path, len), retired, store, &parent, err) < 0)
		return -1;
	_cleanup_free_ char *name = strndup(path, len);
	if (!name)
		return out_of_memory(err);
	if (store_directory_id(store, name, &id, err) < 0 ||
	    new_entry(tree, path, len, id, &entry, err) < 0)
		return -1;
	entry->dir.parent = &parent->dir;
	entry->dir.retired = retired;
	*ret = entry;
	if (retired)
		return 0;
	struct tree_child child = { .name = last_component(entry->dir.path), .dir = &entry->dir };
	return add_child(parent, child, err);
}

static int compare_children(const void *a, const void *b)
{
	const struct tree_child *left = a, *right = b;

	return strcmp(left->name, right->name);
}

/* The array is complete: sorts it and frees its unused capacity. */
static void settle(struct entry *entry)
{
	struct tree_dir *dir = &entry->dir;

	if (!dir->n_children)
		return;
	struct tree_child *fitted = realloc(dir->children,
					    dir->n_children * sizeof(*dir->children));
	if (fitted)
		dir->children = fitted;
	qsort(dir->children, dir->n_children, sizeof(*dir->children), compare_children);
}

int tree_new(struct tree **ret, struct term *terms, size_t n_terms, struct store *store,
	     struct err *err)
{
	_cleanup_(tree_free_cleanup) struct tree *tree = calloc(1, sizeof(*tree));
	struct entry *entry, *next;

	if (!tree)
		return out_of_memory(err);
	if (new_entry(tree, "", 0, TREE_ROOT_ID, &tree->root, err) < 0)
		return -1;
	tree->root->dir.parent = &tree->root->dir;
	for (size_t i = 0; i < n_terms; i++) {
		const char *name = terms[i].config->name;
		struct tree_child child = { .name = last_component(name), .term = &terms[i] };
		if (need_dir(tree, name, parent_length(name, strlen(name)), false, store, &entry,
			     err) < 0 ||
		    add_child(entry, child, err) < 0)
			return -1;
	}
	HASH_ITER(by_id, tree->by_id, entry, next)
		settle(entry);
	*ret = steal_ptr(&tree);
	return 0;
}

int tree_retire(struct tree *tree, const char *name, struct store *store, struct err *err)
{
	struct entry *entry;

	return need_dir(tree, name, parent_length(name, strlen(name)), true, store, &entry, err);
}

struct tree_dir *const *tree_dirs(const struct tree *tree, size_t *ret_n)
{
	*ret_n = tree->n_dirs;
	return tree->dirs;
}

struct tree_dir *tree_root(struct tree *tree)
{
	return &tree->root->dir;
}

struct tree_dir *tree_dir(struct tree *tree, uint64_t id)
{
	struct entry *entry = NULL;

	HASH_FIND(by_id, tree->by_id, &id, sizeof(id), entry);
	return entry ? &entry->dir : NULL;
}

const char *tree_name(const struct tree_dir *dir)
{
	return last_component(dir->path);
}

const struct tree_child *tree_child(const struct tree_dir *dir, const char *name)
{
	struct tree_child key = { .name = name };

	if (!dir->n_children)
		return NULL;
	return bsearch(&key, dir->children, dir->n_children, sizeof(key), compare_children);
}

struct tree_dir *tree_place(struct tree *tree, const struct term *term, const char **ret_name)
{
	const char *path = term->config->name;
	struct entry *entry = NULL;

	HASH_FIND(by_path, tree->by_path, path, parent_length(path, strlen(path)), entry);
	*ret_name = last_component(path);
	return &entry->dir; /* tree_new() or tree_retire() made it */
}

void tree_touch(struct tree_dir *dir)
{
	int64_t old = atomic_load(&dir->mtime_ns);
	int64_t next;

	do {
		int64_t now = clock_wall_ns();
		next = now > old ? now : old + 1;
	} while (!atomic_compare_exchange_weak(&dir->mtime_ns, &old, next));
}
