/*
 * store_fixture: a temporary directory, and helpers for the tests of the store. The length and
 * bytes of a body are computed from its version number.
 */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "tap.h"
#include "keeper/store_directory.h"
#include "store/store.h"
#include "load_term.h"

#define UNUSED __attribute__((unused))

static char fixture_dir[PATH_MAX];

static int fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

UNUSED static void remove_tree(const char *dir)
{
	nftw(dir, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* On a disk: /tmp may be a tmpfs, where fsync does nothing. */
UNUSED static const char *fixture_new(void)
{
	const char *parent = getenv("TMPDIR");

	snprintf(fixture_dir, sizeof(fixture_dir), "%s/rptfs-test-XXXXXX",
		 parent ? parent : "/var/tmp");
	if (!mkdtemp(fixture_dir)) {
		printf("Bail out! mkdtemp %s\n", fixture_dir);
		exit(1);
	}
	return fixture_dir;
}

UNUSED static void fixture_end(void)
{
	remove_tree(fixture_dir);
}

/* Does what the launcher and the worker do. */
UNUSED static int open_mount(struct store **ret, const char *dir, uint64_t mount, struct err *err)
{
	_cleanup_close_ int fd = store_directory_make(dir, geteuid(), getegid(), err);
	struct store_setup setup = { .dir_fd = fd, .dir = dir, .mount = mount };

	return fd < 0 ? -1 : store_open(ret, &setup, err);
}

UNUSED static int open_fresh(struct store **ret, const char *dir, struct err *err)
{
	return open_mount(ret, dir, 0, err);
}

UNUSED static struct store *open_or_bail(const char *dir)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;

	if (open_fresh(&store, dir, &err) < 0) {
		printf("Bail out! store_open: %s\n", err.msg);
		exit(1);
	}
	return store;
}

UNUSED static size_t body_size(unsigned version)
{
	return version % 7 * 1000 + 10;
}

UNUSED static void body_fill(unsigned version, char *body)
{
	for (size_t i = 0; i < body_size(version); i++)
		body[i] = (char)('a' + (version + i) % 26);
}

#define BODY_MAX 8192

/* Commits body `version` with "v<version>" as version and token. */
UNUSED static int commit_dated(struct store *store, const char *term, unsigned version,
			       unsigned history, struct timespec mtime, struct snapshot **ret,
			       struct err *err)
{
	struct store_writer *writer = NULL;
	char body[BODY_MAX], name[24];
	uint8_t sha256[DIGEST_SIZE];
	int result = -1;

	snprintf(name, sizeof(name), "v%u", version);
	struct snapshot_info info = {
		.version = name,
		.source = "test://source",
		.source_version = name,
		.source_fingerprint = UINT64_MAX - 5,
		.mtime = mtime,
		.fetched_at_ms = 2000,
		.order_key = version,
	};
	body_fill(version, body);
	if (store_writer_new(store, &writer, err) == 0 &&
	    store_writer_write(writer, body, body_size(version), err) == 0 &&
	    store_writer_digest(writer, sha256, err) == 0)
		result = store_commit(store, writer, term, &info, history, ret, err);
	store_writer_free(writer);
	return result;
}

UNUSED static int commit_body(struct store *store, const char *term, unsigned version,
			      unsigned history, struct snapshot **ret, struct err *err)
{
	return commit_dated(store, term, version, history, (struct timespec){ 1, 5 }, ret, err);
}

/* Commits, and returns the id, or 0. */
UNUSED static uint64_t commit_id(struct store *store, const char *term, unsigned version,
				 unsigned history)
{
	struct err err = ERR_INIT;
	struct snapshot *snapshot = NULL;

	if (commit_body(store, term, version, history, &snapshot, &err) < 0) {
		printf("# commit of %s: %s\n", term, err.msg);
		return 0;
	}
	uint64_t id = snapshot->id;
	snapshot_unref(snapshot);
	return id;
}

UNUSED static struct snapshot *load(struct store *store, const char *term)
{
	struct err err = ERR_INIT;
	struct store_term loaded = { .snapshot = NULL };

	if (load_term(store, term, &loaded, &err) < 0)
		printf("# load of %s: %s\n", term, err.msg);
	free(loaded.token);
	return loaded.snapshot;
}

UNUSED static uint64_t load_id(struct store *store, const char *term)
{
	struct snapshot *snapshot = load(store, term);
	uint64_t id = snapshot ? snapshot->id : 0;

	snapshot_unref(snapshot);
	return id;
}

UNUSED static const char *file_path(const char *dir, uint64_t id)
{
	static char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/snapshots/%02x/%" PRIu64, dir, (unsigned)(id >> 8 & 255),
		 id);
	return path;
}

UNUSED static bool file_exists(const char *dir, uint64_t id)
{
	return access(file_path(dir, id), F_OK) == 0;
}

struct find_refused {
	const char *term;
	uint64_t fingerprint;
	char *text;
};

static int find_refused_one(void *arg, const struct store_refusal *refusal, struct err *err)
{
	struct find_refused *find = arg;

	(void)err;
	if (strcmp(refusal->term, find->term) == 0 && refusal->fingerprint == find->fingerprint)
		sprintf(find->text, "%.60s: %.60s", refusal->token, refusal->reason);
	return 0;
}

/* Returns the refused token of a source as "TOKEN: REASON", or "". */
UNUSED static const char *find_refused(struct store *store, const char *term, uint64_t fingerprint)
{
	static char text[128];
	struct find_refused find = { term, fingerprint, text };
	struct err err = ERR_INIT;

	text[0] = '\0';
	if (store_list_refused(store, find_refused_one, &find, &err) < 0)
		return err.kind == ERR_NONE ? "no error" : "error";
	return text;
}

/* Files below snapshots/. */
static unsigned fixture_n_files;

static int fixture_count_one(const char *path, const struct stat *st, int type)
{
	(void)path;
	(void)st;
	if (type == FTW_F)
		fixture_n_files++;
	return 0;
}

UNUSED static unsigned count_files(const char *dir)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/snapshots", dir);
	fixture_n_files = 0;
	ftw(path, fixture_count_one, 8);
	return fixture_n_files;
}

UNUSED static uint64_t count_snapshots(struct store *store)
{
	uint64_t snapshots, bytes;

	store_usage(store, &snapshots, &bytes);
	return snapshots;
}

UNUSED static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (!file || fputs(text, file) < 0 || fclose(file) != 0)
		printf("# cannot write %s\n", path);
}

static int fixture_take_number(void *arg, int n, char **values, char **names)
{
	(void)names;
	if (n > 0 && values[0])
		*(int64_t *)arg = atoll(values[0]);
	return 0;
}

/* Runs SQL on the catalog of a closed store. Returns its result, if it is a number. */
UNUSED static int64_t tamper(const char *dir, const char *sql)
{
	int64_t number = 0;
	char path[PATH_MAX + 16], *message = NULL;
	sqlite3 *db = NULL;

	snprintf(path, sizeof(path), "%s/catalog.db", dir);
	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db, sql, fixture_take_number, &number, &message) != SQLITE_OK)
		printf("# %s: %s\n", sql, message ? message : "cannot open");
	sqlite3_free(message);
	sqlite3_close(db);
	return number;
}

#endif
