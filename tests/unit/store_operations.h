/*
 * store_operations: every operation on a store with its expected result, and the stores to run them
 * on: ordinary ones, and stores after a kill, with files missing or damaged.
 */
#ifndef TESTS_UNIT_STORE_OPERATIONS_H
#define TESTS_UNIT_STORE_OPERATIONS_H

#include "base/cancel.h"
#include "store_fixture.h"
#include "load_term.h"

static struct cancel cancel;

struct scene {
	char dir[256];
	struct store *store;
	struct snapshot *snapshot; /* set by prepare(), used by run() */
};

struct operation {
	const char *name;
	void (*make)(const char *dir);			  /* makes the store */
	void (*prepare)(struct scene *scene);		  /* NULL: nothing */
	int (*run)(struct scene *scene, struct err *err); /* NULL: opening the store */
	/* Versions of the terms a and b before and after; 0: none. */
	unsigned a_before, a_after, b;
	bool takes_over; /* opens the store with the number of killed_mount */
};

/* ------------------------------------------------------------------ stores */

static uint64_t killed_mount; /* set by make_killed() */

static int copy_root_len;
static const char *copy_to;

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char to[PATH_MAX * 2], piece[65536];
	ssize_t n;

	(void)ftw;
	snprintf(to, sizeof(to), "%s%s", copy_to, path + copy_root_len);
	if (type == FTW_D)
		return mkdir(to, 0700) < 0 && errno != EEXIST ? -1
							      : lchown(to, st->st_uid, st->st_gid);
	_cleanup_close_ int in = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, st->st_mode & 0777);
	while ((n = read(in, piece, sizeof(piece))) > 0) {
		if (write(out, piece, (size_t)n) != n)
			return -1;
	}
	return n < 0 ? -1 : fchown(out, st->st_uid, st->st_gid);
}

static void copy_tree(const char *from, const char *to)
{
	copy_root_len = (int)strlen(from);
	copy_to = to;
	if (nftw(from, copy_one, 8, FTW_PHYS) != 0)
		printf("# cannot copy %s to %s\n", from, to);
}

static void make_empty(const char *dir)
{
	(void)dir;
}

static void fill(struct store *store)
{
	const char *const terms[] = { "a", "b" };
	struct err err = ERR_INIT;
	uint64_t id;

	for (unsigned version = 1; version <= 3; version++)
		commit_id(store, "a", version, 2);
	commit_id(store, "b", 1, 2);
	store_directory_id(store, "geo", &id, &err);
	store_refuse(store, "a", 7, "bad", "too long", &err);
	store_retain(store, terms, 2);
}

static int give_away(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return lchown(path, 65534, 65534);
}

static void make_usual(const char *dir)
{
	struct store *store = open_or_bail(dir);

	fill(store);
	store_close(store);
}

static void make_anothers(const char *dir)
{
	make_usual(dir);
	if (geteuid() == 0)
		nftw(dir, give_away, 8, FTW_PHYS);
}

/* The next snapshot needs a new directory. */
static void make_at_the_edge(const char *dir)
{
	make_usual(dir);
	tamper(dir, "UPDATE store SET next_id = 600");
}

/* After a kill: the log is not yet in the database, and a file has no row. */
static void make_killed(const char *dir)
{
	char place[PATH_MAX + 8], file[PATH_MAX + 64];

	snprintf(place, sizeof(place), "%s.live", dir);
	mkdir(place, 0700);
	struct store *store = open_or_bail(place);
	fill(store);
	killed_mount = store_mount(store);
	copy_tree(place, dir);
	store_close(store);
	remove_tree(place);
	snprintf(file, sizeof(file), "%s/snapshots/00/250", dir);
	write_file(file, "no row");
	snprintf(file, sizeof(file), "%s/snapshots/new-0", dir);
	write_file(file, "no row");
}

/* The file of one superseded snapshot is missing, another one is truncated. */
static void make_robbed(const char *dir)
{
	struct store *store = open_or_bail(dir);
	uint64_t id = commit_id(store, "b", 1, 2);

	fill(store);
	uint64_t last = load_id(store, "a");
	store_close(store);
	unlink(file_path(dir, id));
	chmod(file_path(dir, last - 1), 0600);
	write_file(file_path(dir, last - 1), "short");
}

static void make_damaged(const char *dir)
{
	char path[PATH_MAX + 16];

	make_usual(dir);
	snprintf(path, sizeof(path), "%s/catalog.db", dir);
	write_file(
		path,
		"this file is a text and not a database, in spite of its name, which ends in .db");
}

/* ------------------------------------------------------------------ operations */

static struct snapshot *load_or_bail(struct scene *scene, const char *term)
{
	struct snapshot *snapshot = load(scene->store, term);

	if (!snapshot)
		_exit(3);
	return snapshot;
}

static int run_update(struct scene *scene, struct err *err)
{
	struct snapshot *snapshot = NULL;
	int result = commit_body(scene->store, "a", 4, 1, &snapshot, err);

	snapshot_unref(snapshot);
	return result;
}

/* With superseded snapshots that the kernel no longer holds, so that files are deleted. */
static void prepare_history(struct scene *scene)
{
	struct snapshot *first = load_or_bail(scene, "a");

	commit_id(scene->store, "a", 4, 0);
	struct snapshot *second = load_or_bail(scene, "a");
	commit_id(scene->store, "a", 5, 0);
	store_release(scene->store, first);
	snapshot_unref(first);
	scene->snapshot = second;
}

static int run_update_and_release(struct scene *scene, struct err *err)
{
	struct snapshot *snapshot = NULL;

	store_release(scene->store, scene->snapshot);
	int result = commit_body(scene->store, "a", 6, 0, &snapshot, err);
	snapshot_unref(snapshot);
	return result;
}

static int run_first(struct scene *scene, struct err *err)
{
	struct snapshot *snapshot = NULL;
	int result = commit_body(scene->store, "new", 1, 1, &snapshot, err);

	snapshot_unref(snapshot);
	return result;
}

/* A body in several pieces, written twice. */
static int run_restarted(struct scene *scene, struct err *err)
{
	struct store_writer *writer = NULL;
	struct snapshot *snapshot = NULL;
	char body[BODY_MAX];
	uint8_t sha256[DIGEST_SIZE];
	struct snapshot_info info = { .version = "v4", .source = "test://source" };
	int result = -1;

	body_fill(4, body);
	if (store_writer_new(scene->store, &writer, err) == 0 &&
	    store_writer_write(writer, body, 100, err) == 0 &&
	    store_writer_restart(writer, err) == 0 &&
	    store_writer_write(writer, body, 50, err) == 0 &&
	    store_writer_write(writer, body + 50, body_size(4) - 50, err) == 0 &&
	    store_writer_digest(writer, sha256, err) == 0)
		result = store_commit(scene->store, writer, "a", &info, 1, &snapshot, err);
	store_writer_free(writer);
	snapshot_unref(snapshot);
	return result;
}

static int run_set_token(struct scene *scene, struct err *err)
{
	return store_set_token(scene->store, "a", "another", 9, err);
}

static int run_refuse(struct scene *scene, struct err *err)
{
	return store_refuse(scene->store, "a", 8, "worse", "it is corrupt", err);
}

static int run_forget(struct scene *scene, struct err *err)
{
	return store_refuse(scene->store, "a", 7, NULL, NULL, err);
}

static int find_bad(void *arg, const struct store_refusal *refusal, struct err *err)
{
	(void)err;
	*(bool *)arg |= strcmp(refusal->term, "a") == 0 && strcmp(refusal->token, "bad") == 0;
	return 0;
}

static int run_list_refused(struct scene *scene, struct err *err)
{
	bool found = false;

	if (store_list_refused(scene->store, find_bad, &found, err) < 0)
		return -1;
	return found ? 0 : err_set(err, ERR_INTERNAL, "forgotten");
}

static int run_remove(struct scene *scene, struct err *err)
{
	return store_remove_current(scene->store, "a", err);
}

static void prepare_snapshot(struct scene *scene)
{
	scene->snapshot = load_or_bail(scene, "a");
}

static int run_drop(struct scene *scene, struct err *err)
{
	return store_drop(scene->store, scene->snapshot, err);
}

static int run_verify(struct scene *scene, struct err *err)
{
	atomic_store(&scene->snapshot->integrity, SNAPSHOT_UNVERIFIED);
	return store_verify(scene->store, scene->snapshot, &cancel, err);
}

static int run_open_bytes(struct scene *scene, struct err *err)
{
	_cleanup_close_ int fd = store_open_bytes(scene->store, scene->snapshot, err);

	return fd < 0 ? -1 : 0;
}

static int run_directory(struct scene *scene, struct err *err)
{
	uint64_t id;

	return store_directory_id(scene->store, "geo/far", &id, err);
}

static int run_retain(struct scene *scene, struct err *err)
{
	const char *const terms[] = { "b" };

	(void)err;
	store_retain(scene->store, terms, 1);
	return 0;
}

static int run_confirmed(struct scene *scene, struct err *err)
{
	return store_set_confirmed(scene->store, "a", 3000, err);
}

static int run_republish(struct scene *scene, struct err *err)
{
	struct snapshot *snapshot = NULL;
	int result = store_republish(scene->store, scene->snapshot, "a", 2, &snapshot, err);

	snapshot_unref(snapshot);
	return result;
}

static int run_remove_orphans(struct scene *scene, struct err *err)
{
	return store_remove_orphans(scene->store, err);
}

static int run_release(struct scene *scene, struct err *err)
{
	(void)err;
	store_release(scene->store, scene->snapshot);
	return 0;
}

static int run_load(struct scene *scene, struct err *err)
{
	struct store_term term = { .snapshot = NULL };
	int result = load_term(scene->store, "a", &term, err);

	store_term_release(&term);
	return result;
}

static int take_term(void *arg, const char *name, struct store_term *term, struct err *err)
{
	(void)arg;
	(void)name;
	(void)err;
	store_term_release(term);
	return 0;
}

static int run_load_all(struct scene *scene, struct err *err)
{
	return store_load_all(scene->store, take_term, NULL, err);
}

static int take_held(void *arg, const char *term, struct snapshot *snapshot, struct err *err)
{
	(void)arg;
	(void)term;
	(void)err;
	snapshot_unref(snapshot);
	return 0;
}

static int run_list_held(struct scene *scene, struct err *err)
{
	return store_list_held(scene->store, take_held, NULL, err);
}

static int run_close(struct scene *scene, struct err *err)
{
	(void)err;
	store_close(scene->store);
	scene->store = NULL;
	return 0;
}

static void prepare_close(struct scene *scene)
{
	commit_id(scene->store, "a", 4, 1);
}

static const struct operation operations[] = {
	{ "making a store", make_empty, NULL, NULL, .a_before = 0, .a_after = 0, .b = 0 },
	{ "opening", make_usual, NULL, NULL, 3, 3, 1 },
	{ "opening what another user had", make_anothers, NULL, NULL, 3, 3, 1 },
	{ "opening after a kill", make_killed, NULL, NULL, 3, 3, 1 },
	{ "taking over", make_killed, NULL, NULL, 3, 3, 1, .takes_over = true },
	{ "opening with files gone", make_robbed, NULL, NULL, 3, 3, 1 },
	{ "opening a damaged one", make_damaged, NULL, NULL, 0, 0, 0 },
	{ "closing", make_usual, prepare_close, run_close, 4, 4, 1 },
	{ "update", make_usual, NULL, run_update, 3, 4, 1 },
	{ "update into a new directory", make_at_the_edge, NULL, run_update, 3, 4, 1 },
	{ "update in pieces", make_usual, NULL, run_restarted, 3, 4, 1 },
	{ "update that deletes", make_usual, prepare_history, run_update_and_release, 5, 6, 1 },
	{ "update after a take-over", make_killed, NULL, run_update, 3, 4, 1, .takes_over = true },
	{ "first version", make_usual, NULL, run_first, 3, 3, 1 },
	{ "republishing", make_usual, prepare_snapshot, run_republish, 3, 3, 1 },
	{ "token", make_usual, NULL, run_set_token, 3, 3, 1 },
	{ "confirmation", make_usual, NULL, run_confirmed, 3, 3, 1 },
	{ "refusal", make_usual, NULL, run_refuse, 3, 3, 1 },
	{ "forgetting a refusal", make_usual, NULL, run_forget, 3, 3, 1 },
	{ "listing refusals", make_usual, NULL, run_list_refused, 3, 3, 1 },
	{ "removal", make_usual, NULL, run_remove, 3, 0, 1 },
	{ "drop", make_usual, prepare_snapshot, run_drop, 3, 0, 1 },
	{ "verification", make_usual, prepare_snapshot, run_verify, 3, 3, 1 },
	{ "opening bytes", make_usual, prepare_snapshot, run_open_bytes, 3, 3, 1 },
	{ "directory", make_usual, NULL, run_directory, 3, 3, 1 },
	{ "retaining", make_usual, NULL, run_retain, 3, 3, 1 },
	{ "release", make_usual, prepare_history, run_release, 5, 5, 1 },
	{ "loading", make_usual, NULL, run_load, 3, 3, 1 },
	{ "loading all", make_usual, NULL, run_load_all, 3, 3, 1 },
	{ "what is held", make_killed, NULL, run_list_held, 3, 3, 1, .takes_over = true },
	{ "removing orphans", make_killed, NULL, run_remove_orphans, 3, 3, 1, .takes_over = true },
};

#endif
