/* tree, nodes, rendered: the mount's tables, without a kernel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"
#include "mount/namespace/nodes.h"
#include "mount/namespace/tree.h"
#include "mount/view/rendered.h"
#include "tap.h"

/* Replaces the store: returns a new number for each path, in the order of the calls. */
int store_directory_id(struct store *store, const char *path, uint64_t *ret, struct err *err)
{
	static uint64_t next = 100;

	(void)store;
	(void)path;
	(void)err;
	*ret = next++;
	return 0;
}

#define N_TERMS 5

static struct term_config configs[N_TERMS] = {
	{ .name = (char *)"a-b" }, /* sorts before "a/…" as a whole name, after "a" as a component
				    */
	{ .name = (char *)"a/x" },    { .name = (char *)"a/y/z" },
	{ .name = (char *)"banner" }, { .name = (char *)"c/d/e/f" },
};

/* Names that are no longer configured. */
static void test_retired(struct tree *tree)
{
	static struct term_config config = { .name = (char *)"a/old/deep/x" };
	struct term stray = { .config = &config };
	struct err err = ERR_INIT;
	const char *name;
	size_t before, after;

	tree_dirs(tree, &before);
	ok(tree_retire(tree, config.name, NULL, &err) == 0, "tree_retire");
	struct tree_dir *const *dirs = tree_dirs(tree, &after);
	is_int(after, before + 2, "missing directories are made");
	struct tree_dir *deep = tree_place(tree, &stray, &name);
	ok(deep == dirs[after - 1] && deep->retired, "the directory of the name is found");
	is_str(tree_name(deep), "deep", "it is the right directory");
	ok(tree_dir(tree, deep->id) == deep, "it is found by its id, too");
	ok(deep->parent->retired && !deep->parent->parent->retired,
	   "its first parent is retired, the next one is in use");
	ok(!tree_child(deep->parent->parent, "old"), "a retired directory is not listed");
	ok(tree_retire(tree, "a/x", NULL, &err) == 0, "retiring a name in use");
	tree_dirs(tree, &before);
	is_int(before, after, "the tree is unchanged");
}

static void test_tree(struct term *terms)
{
	struct err err = ERR_INIT;
	struct tree *tree = NULL;
	const char *name;

	ok(tree_new(&tree, terms, N_TERMS, NULL, &err) == 0, "tree_new");
	struct tree_dir *root = tree_root(tree);
	is_int(root->id, TREE_ROOT_ID, "the root has its id");
	is_int(root->n_children, 4, "the root has the children a, a-b, banner, c");
	is_int(root->n_subdirs, 2, "two of them are directories");
	is_str(root->children[0].name, "a", "children are sorted by component");
	is_str(root->children[1].name, "a-b", "children are sorted by component");
	ok(tree_child(root, "banner")->term == &terms[3], "a term is found");
	ok(!tree_child(root, "bann"), "a prefix of a name is not found");
	ok(!tree_child(root, "a/x"), "a path is not found");
	struct tree_dir *a = tree_child(root, "a")->dir;
	ok(a && tree_dir(tree, a->id) == a, "a directory is found by name and by id");
	ok(!tree_dir(tree, 99), "an unknown id is not found");
	ok(tree_place(tree, &terms[2], &name) == tree_child(a, "y")->dir,
	   "the place of a/y/z is found");
	is_str(name, "z", "its name there is z");
	ok(tree_place(tree, &terms[3], &name) == root, "the place of banner is the root");
	int64_t before = atomic_load(&a->mtime_ns);
	for (int i = 0; i < 1000; i++) {
		tree_touch(a);
		int64_t after = atomic_load(&a->mtime_ns);
		if (after <= before) {
			ok(false, "mtime rises strictly");
			break;
		}
		before = after;
	}
	test_retired(tree);
	tree_free(tree);
	ok(tree_new(&tree, terms, 0, NULL, &err) == 0, "a tree without terms");
	ok(!tree_child(tree_root(tree), "a"), "its root has no child");
	tree_free(tree);
	tree_free(NULL);
}

static struct snapshot *make_snapshot(uint64_t id)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	snapshot->id = id;
	snapshot->version = snapshot->source = "";
	atomic_init(&snapshot->refs, 1);
	return snapshot;
}

/* Whichever allocation fails, the tree is complete, or the error says that it is not made. */
static void test_tree_without_memory(struct term *terms)
{
	static struct faults faults = { .calls = 1 << FAULT_MEMORY, .count = 1, .error = ENOMEM };
	unsigned wrong = 0, n_failed = 0;
	bool was_reached = faults_reach_memory;

	faults_apply(&faults);
	for (; was_reached; faults.first++) {
		struct err err = ERR_INIT;
		struct tree *tree = NULL;

		faults_set(&faults, FAULTS_FAIL);
		int result = tree_new(&tree, terms, N_TERMS, NULL, &err);
		was_reached = atomic_load(&faults.failed) > 0;
		faults_set(&faults, FAULTS_OFF);
		wrong += result < 0 ? !was_reached || err.kind != ERR_INTERNAL
				    : tree_root(tree)->n_children != 4;
		n_failed += result < 0;
		tree_free(tree);
	}
	is_int(wrong, 0, "a tree without memory is an error");
	ok(n_failed > 10 || !faults_reach_memory, "%u allocations matter", n_failed);
}

static void test_nodes(struct term *term)
{
	struct err err = ERR_INIT;
	struct nodes *nodes = NULL;
	struct snapshot *snapshot = make_snapshot(7), *found;
	struct term *of = NULL;
	bool superseded = true;

	ok(nodes_new(&nodes, &err) == 0, "nodes_new");
	ok(nodes_add(nodes, snapshot, term, &err) == 0, "nodes_add");
	ok(!nodes_find(nodes, 8, &of, &superseded), "an unknown id is not found");
	found = nodes_find(nodes, 7, &of, &superseded);
	ok(found == snapshot && of == term && !superseded, "a current snapshot is found");
	snapshot_unref(found);
	ok(!nodes_remove(nodes, 7), "the node of a current snapshot cannot be removed");
	struct node_place *places = NULL;
	size_t n_places = 99;
	ok(nodes_superseded(nodes, &places, &n_places, &err) == 0 && n_places == 0,
	   "no snapshot is superseded");
	free(places);
	nodes_supersede(nodes, 7);
	nodes_supersede(nodes, 8);
	ok(nodes_superseded(nodes, &places, &n_places, &err) == 0 && n_places == 1 &&
		   places[0].id == 7 && places[0].term == term,
	   "one snapshot is superseded");
	free(places);
	ok(nodes_add(nodes, snapshot, term, &err) == 0, "it can be added again");
	is_int(atomic_load(&snapshot->refs), 2, "the table keeps one entry");
	found = nodes_find(nodes, 7, &of, &superseded);
	ok(found && superseded, "a superseded snapshot is still found");
	snapshot_unref(found);
	found = nodes_remove(nodes, 7);
	ok(found == snapshot, "it can be removed");
	is_int(atomic_load(&snapshot->refs), 2, "the caller gets its reference");
	snapshot_unref(found);
	ok(!nodes_remove(nodes, 7), "it can be removed only once");
	ok(nodes_add(nodes, snapshot, term, &err) == 0, "an entry can be left in the table");
	nodes_free(nodes);
	is_int(atomic_load(&snapshot->refs), 1, "the entry is released with the table");
	snapshot_unref(snapshot);
	nodes_free(NULL);
}

/* Many nodes, added and removed in random order: exactly those in the table are found. */
static void test_many_nodes(struct term *term)
{
	enum { N = 3000 };
	static struct snapshot *snapshots[N];
	static bool is_there[N];
	struct err err = ERR_INIT;
	struct nodes *nodes = NULL;
	struct term *of;
	bool superseded;
	int wrong = 0;

	nodes_new(&nodes, &err);
	for (size_t i = 0; i < N; i++)
		snapshots[i] = make_snapshot(1000 + i * 3);
	for (size_t round = 0; round < 20 * N; round++) {
		size_t i = (size_t)rand() % N;
		struct snapshot *removed = NULL;
		if (!is_there[i]) {
			nodes_add(nodes, snapshots[i], term, &err);
		} else {
			nodes_supersede(nodes, snapshots[i]->id);
			removed = nodes_remove(nodes, snapshots[i]->id);
			wrong += !removed;
		}
		is_there[i] = !is_there[i];
		snapshot_unref(removed);
	}
	for (size_t i = 0; i < N; i++) {
		struct snapshot *found = nodes_find(nodes, snapshots[i]->id, &of, &superseded);
		wrong += is_there[i] != (found != NULL);
		snapshot_unref(found);
	}
	is_int(wrong, 0, "nodes are found among many");
	nodes_free(nodes);
	for (size_t i = 0; i < N; i++)
		snapshot_unref(snapshots[i]);
}

/* Time stands still unless a test moves it. */
static int64_t boot_ms = 1;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_BOOTTIME)
		return (int)syscall(SYS_clock_gettime, id, ts);
	*ts = (struct timespec){ boot_ms / 1000, boot_ms % 1000 * 1000000 };
	return 0;
}

static int render_count(void *arg, const struct term_access *access, char **ret, size_t *ret_len,
			struct err *err)
{
	int *count = arg;

	(void)access;
	if (*count < 0)
		return err_set(err, ERR_INTERNAL, "this rendering fails");
	*ret_len = (size_t)asprintf(ret, "rendering %d", ++*count);
	return 0;
}

#define OWNER  12345
#define ALICE  1000
#define BOB    1001
#define MEMBER 50 /* a group */

/* Three terms: for all, for a group, for the owner. */
static struct term_config readable_configs[] = {
	{ .name = (char *)"all", .mode = 0444, .user = OWNER },
	{ .name = (char *)"group", .mode = 0440, .user = OWNER, .group = MEMBER },
	{ .name = (char *)"owner", .mode = 0400, .user = OWNER },
};
static struct term readable_terms[] = {
	{ .config = &readable_configs[0] },
	{ .config = &readable_configs[1] },
	{ .config = &readable_configs[2] },
};

/* The table of renderings, with what it needs. */
struct renderings {
	struct term_rights *rights;
	struct budget *budget;
	struct rendered *table;
	int count, failing; /* renderings of status.json; -1 */
	struct rendered_file files[2];
};

static void setup_renderings_of(struct renderings *ret, const struct term *terms, size_t n_terms,
				uint64_t share_bytes)
{
	struct err err = ERR_INIT;

	*ret = (struct renderings){ .failing = -1 };
	ret->files[0] = (struct rendered_file){ "status.json", render_count, &ret->count };
	ret->files[1] = (struct rendered_file){ "broken", render_count, &ret->failing };
	if (term_rights_new(&ret->rights, terms, n_terms, OWNER, &err) < 0 ||
	    budget_new(&ret->budget, 2 * share_bytes, share_bytes, &err) < 0)
		abort();
	struct rendered_setup setup = {
		.files = ret->files,
		.n_files = 2,
		.rights = ret->rights,
		.budget = ret->budget,
		.life = 3,
	};
	ok(rendered_new(&ret->table, &setup, &err) == 0, "rendered_new");
}

static void setup_renderings(struct renderings *ret, uint64_t share_bytes)
{
	setup_renderings_of(ret, readable_terms, ARRAY_SIZE(readable_terms), share_bytes);
}

static void release_renderings(struct renderings *renderings)
{
	rendered_free(renderings->table);
	budget_free(renderings->budget);
	term_rights_free(renderings->rights);
}

/* NULL: there is no rendering for this user. */
static const struct rendering *look_up(struct renderings *renderings, uid_t uid, gid_t gid)
{
	const struct term_reader caller = { .uid = uid, .gid = gid };
	struct rendering copy;
	struct err err = ERR_INIT;

	if (rendered_lookup(renderings->table, "status.json", &caller, &copy, &err) < 0)
		return NULL;
	const struct rendering *found = rendered_get(renderings->table, copy.id);
	rendered_forget(renderings->table, copy.id, 1);
	return found;
}

static void test_rendered(void)
{
	const struct term_reader owner = { .uid = OWNER };
	struct err err = ERR_INIT;
	struct renderings renderings;
	const struct rendering *first, *second, *third;
	struct rendering copy;
	const char *name;
	uint32_t ino;

	setup_renderings(&renderings, 1 << 20);
	struct rendered *rendered = renderings.table;
	ok(rendered_list(rendered, 1, &name, &ino) && strcmp(name, "broken") == 0,
	   "files are listed");
	ok(!rendered_list(rendered, 2, &name, &ino), "the list ends");
	ok(rendered_lookup(rendered, "nothing", &owner, &copy, &err) < 0 &&
		   err.kind == ERR_NOT_FOUND,
	   "an unknown file is not found");
	ok(rendered_lookup(rendered, "broken", &owner, &copy, &err) < 0 && err.kind == ERR_INTERNAL,
	   "a failed rendering is an error");
	first = look_up(&renderings, OWNER, 0);
	ok(first, "a file is rendered");
	is_int(first->ino, UINT32_C(1) << 31 | 3 << 20 | 0x100, "its inode number has 32 bits");
	ok((first->id & RENDERED_ID_BIT) && (first->id >> 32 & INT32_MAX) == 3,
	   "its id contains the number of the life");
	second = look_up(&renderings, OWNER, 0);
	ok(second == first && renderings.count == 1, "a recent rendering is reused");
	boot_ms += RENDERED_REUSE_MS;
	third = look_up(&renderings, OWNER, 0);
	ok(third->id != first->id && renderings.count == 2, "a later look-up makes a new one");
	uint64_t id = first->id;
	ok(rendered_get(rendered, id) == first, "the old one still exists");
	rendered_forget(rendered, id, 2);
	ok(rendered_get(rendered, id) == first, "it exists until the last look-up is forgotten");
	rendered_forget(rendered, id, 2);
	ok(!rendered_get(rendered, id), "then it is freed");
	rendered_forget(rendered, id, 1);
	rendered_forget(rendered, third->id, UINT64_MAX);
	release_renderings(&renderings);
	rendered_free(NULL);
}

/* Users get nodes of their own, and texts according to their rights. */
static void test_rendered_for_users(void)
{
	struct renderings renderings;

	setup_renderings(&renderings, 1 << 20);
	const struct rendering *owner = look_up(&renderings, OWNER, 0);
	const struct rendering *root = look_up(&renderings, 0, 0);
	const struct rendering *alice = look_up(&renderings, ALICE, ALICE);
	const struct rendering *bob = look_up(&renderings, BOB, BOB);
	const struct rendering *member = look_up(&renderings, ALICE, MEMBER);
	ok(root->text == owner->text && root->id != owner->id,
	   "users with the same rights share a text, but no node");
	ok(alice->text != owner->text && alice->text == bob->text && alice->id != bob->id,
	   "users with other rights have another one");
	ok(member->text != alice->text && member->text != owner->text,
	   "the same user as a member of a group, too");
	is_int(renderings.count, 3, "each set of rights is rendered once");
	ok(look_up(&renderings, BOB, BOB) == bob && look_up(&renderings, ALICE, ALICE) == alice,
	   "each user finds its own again");
	release_renderings(&renderings);
}

/* Every one of them may read another term. */
static void test_rendered_for_many_users(void)
{
	enum { N = 12 };
	struct term_config own_configs[N];
	struct term many[N];
	struct renderings renderings;
	const struct rendering *seen[N];
	unsigned others = 0;

	for (size_t i = 0; i < N; i++) {
		own_configs[i] = (struct term_config){ .mode = 0400, .user = (uid_t)(2000 + i) };
		many[i] = (struct term){ .config = &own_configs[i] };
	}
	setup_renderings_of(&renderings, many, N, 1 << 20);
	for (size_t i = 0; i < N; i++)
		seen[i] = look_up(&renderings, own_configs[i].user, 1);
	for (size_t i = 0; i < N; i++)
		others += look_up(&renderings, own_configs[i].user, 1) != seen[i];
	is_int(others, 0, "each of many users finds its own again");
	is_int(renderings.count, N, "and was rendered for once");
	release_renderings(&renderings);
}

/* A user who holds renderings open uses up its own share only. */
static void test_rendered_budget(void)
{
	struct renderings renderings;
	const struct rendering *held[8] = { NULL };
	size_t n = 0;

	setup_renderings(&renderings, 4 * 600);
	for (; n < 8 && (held[n] = look_up(&renderings, ALICE, ALICE)); n++)
		boot_ms += RENDERED_REUSE_MS;
	is_int(n, 4, "a user can hold renderings up to its share");
	ok(look_up(&renderings, BOB, BOB), "others have theirs");
	ok(look_up(&renderings, OWNER, 0) && look_up(&renderings, 0, 0),
	   "root and the owner have no limit");
	rendered_forget(renderings.table, held[0]->id, 1);
	ok(look_up(&renderings, ALICE, ALICE), "what is forgotten is given back");
	for (size_t i = 1; i < n; i++)
		rendered_forget(renderings.table, held[i]->id, 1);
	release_renderings(&renderings);
}

static int render_more_for_the_owner(void *arg, const struct term_access *access, char **ret,
				     size_t *ret_len, struct err *err)
{
	const struct term_rights *const *rights = arg;

	(void)err;
	*ret_len = term_rights_are_full(*rights, access) ? 1 << 20 : 1;
	*ret = calloc(1, *ret_len);
	return *ret ? 0 : -1;
}

/* The size of what root sees does not count against a guest who sees little. */
static void test_rendered_sizes(void)
{
	struct renderings renderings;

	setup_renderings(&renderings, 4 * 600);
	renderings.files[0].render = render_more_for_the_owner;
	renderings.files[0].arg = &renderings.rights;
	for (int i = 0; i < 2; i++, boot_ms += RENDERED_REUSE_MS) {
		ok(look_up(&renderings, 0, 0), "root's rendering is large");
		ok(look_up(&renderings, ALICE, ALICE), "a guest's is small, and has room");
	}
	release_renderings(&renderings);
}

static int render_large(void *arg, const struct term_access *access, char **ret, size_t *ret_len,
			struct err *err)
{
	int *count = arg;

	(void)access;
	(void)err;
	++*count;
	*ret_len = (size_t)30 << 20;
	*ret = calloc(1, *ret_len);
	return *ret ? 0 : -1;
}

/* Large texts are not kept for users who may not come again. */
static void test_rendered_bytes(void)
{
	struct renderings renderings;

	setup_renderings(&renderings, UINT64_C(1) << 30);
	renderings.files[0].render = render_large;
	look_up(&renderings, ALICE, ALICE);
	look_up(&renderings, ALICE, MEMBER);
	look_up(&renderings, OWNER, 0);
	look_up(&renderings, ALICE, MEMBER);
	is_int(renderings.count, 3, "two of three large texts are kept");
	look_up(&renderings, ALICE, ALICE);
	is_int(renderings.count, 4, "the oldest is not");
	release_renderings(&renderings);
}

int main(void)
{
	struct term terms[N_TERMS];
	struct err err = ERR_INIT;

	for (size_t i = 0; i < N_TERMS; i++)
		term_init(&terms[i], &configs[i], NULL, NULL, &err);
	test_tree(terms);
	test_tree_without_memory(terms);
	test_many_nodes(&terms[0]);
	test_nodes(&terms[0]);
	test_rendered();
	test_rendered_for_users();
	test_rendered_for_many_users();
	test_rendered_budget();
	test_rendered_sizes();
	test_rendered_bytes();
	for (size_t i = 0; i < N_TERMS; i++)
		term_release(&terms[i]);
	return tap_done();
}
