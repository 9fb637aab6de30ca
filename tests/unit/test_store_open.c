/* store: opening damaged stores, locking, permissions, read-only and full disks. */
#include <errno.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/log.h"
#include "keeper/store_memory.h"
#include "store_fixture.h"

static void check_refused(const char *dir, enum err_kind kind, const char *text, const char *what)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;

	is_int(open_fresh(&store, dir, &err), -1, "%s is refused", what);
	is_int(err.kind, kind, "the error has the right kind");
	if (!ok(strstr(err.msg, text) != NULL, "and says \"%s\"", text))
		printf("# %s\n", err.msg);
	store_close(store);
}

/* Returns a path below the fixture, in a static buffer. */
static const char *below(const char *name)
{
	static char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", fixture_dir, name);
	return path;
}

static unsigned count_set_aside(void)
{
	DIR *dir = opendir(fixture_dir);
	struct dirent *entry;
	unsigned n = 0;

	while ((entry = readdir(dir)))
		n += strncmp(entry->d_name, "aside-", 6) == 0;
	closedir(dir);
	return n;
}

/* Leaves no file from which the largest id could be derived. */
static void make_garbage(void)
{
	char garbage[9000];

	remove_tree(below("snapshots"));
	memset(garbage, 'g', sizeof(garbage) - 1);
	garbage[sizeof(garbage) - 1] = '\0';
	write_file(below("catalog.db"), garbage);
}

static void make_truncated(void)
{
	struct stat st;

	stat(below("catalog.db"), &st);
	ok(truncate(below("catalog.db"), st.st_size - 4096) == 0, "the catalog is truncated");
}

static void make_empty(void)
{
	ok(truncate(below("catalog.db"), 0) == 0, "the catalog is truncated");
}

static void make_foreign(void)
{
	tamper(fixture_dir, "PRAGMA application_id = 7");
}

static void make_tableless(void)
{
	tamper(fixture_dir, "DROP TABLE term");
}

static void make_rowless(void)
{
	tamper(fixture_dir, "DELETE FROM store");
}

static void make_ids_go_back(void)
{
	tamper(fixture_dir, "UPDATE store SET next_id = 2");
}

/* After each kind of damage: a working catalog, new ids, no old file. */
static void test_damage(const char *what, void (*damage)(void), unsigned n_set_aside)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	uint64_t directory = 0;
	uint64_t id = commit_id(store, "x", 1, 3);

	for (char path[] = "a"; path[0] <= 'z'; path[0]++)
		store_directory_id(store, path, &directory, &err);
	store_close(store);
	damage();
	store = NULL;
	if (!ok(open_fresh(&store, dir, &err) == 0, "a catalog that is %s is replaced", what)) {
		printf("# %s\n", err.msg);
		return;
	}
	is_int(count_set_aside(), n_set_aside, "set aside: %u", n_set_aside);
	is_int(load_id(store, "x"), 0, "the new catalog is empty");
	ok(!file_exists(dir, id), "the old snapshot's file is deleted");
	uint64_t next = commit_id(store, "x", 2, 3);
	ok(next > directory, "new ids are larger than all that may have been given");
	ok(next < UINT64_C(1) << 53, "ids are below 2^53");
	store_close(store);
	store = open_or_bail(dir);
	is_int(load_id(store, "x"), next, "the new snapshot survives");
	is_int(count_set_aside(), n_set_aside, "nothing else is set aside");
	store_close(store);
	fixture_end();
}

static void test_newer(void)
{
	const char *dir = fixture_new();

	store_close(open_or_bail(dir));
	tamper(dir, "PRAGMA user_version = 99");
	check_refused(dir, ERR_CONFIG, "written by a newer rptfs", "a catalog of a newer rptfs");
	is_int(count_set_aside(), 0, "the store is not set aside");
	fixture_end();
}

/* Only somebody who may write to the store can make one. */
static void test_trigger(void)
{
	const char *dir = fixture_new();
	struct err err = ERR_INIT;
	struct snapshot *snapshot = NULL;

	store_close(open_or_bail(dir));
	tamper(dir, "CREATE TRIGGER undo AFTER INSERT ON term BEGIN DELETE FROM term; END");
	struct store *store = open_or_bail(dir);
	is_int(commit_body(store, "x", 1, 3, &snapshot, &err), -1, "a row that vanishes fails");
	ok(strstr(err.msg, "a term cannot be added") != NULL, "with a reason: %s", err.msg);
	store_close(store);
	fixture_end();
}

static void test_lock(void)
{
	const char *dir = fixture_new();
	char text[64];

	struct store *store = open_or_bail(dir);
	snprintf(text, sizeof(text), "used by process %d", (int)getpid());
	check_refused(dir, ERR_CONFIG, text, "a store in use");
	ok(commit_id(store, "x", 1, 0) != 0, "the first process can still commit");
	store_close(store);
	store_close(open_or_bail(dir));
	ok(true, "a closed store can be opened again");
	fixture_end();
}

static void test_files(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	uint64_t missing = commit_id(store, "missing", 1, 3);
	uint64_t cut = commit_id(store, "cut", 2, 3);
	uint64_t whole = commit_id(store, "whole", 3, 3);
	uint64_t fifo = commit_id(store, "fifo", 4, 3);

	store_close(store);
	unlink(file_path(dir, missing));
	ok(truncate(file_path(dir, cut), 3) == 0, "a file is truncated");
	unlink(file_path(dir, fifo));
	mkfifo(file_path(dir, fifo), 0600);
	mkdir(below("snapshots/03"), 0700);
	mkdir(below("snapshots/ff"), 0700);
	write_file(file_path(dir, 999), "between link and row");
	write_file(below("snapshots/new-3"), "a named temporary file");
	write_file(below("snapshots/ff/notes.txt"), "somebody's");
	write_file(below("snapshots/ff/9223372036854775807"), "somebody's");

	store = open_or_bail(dir);
	is_int(load_id(store, "missing"), 0, "a missing file: the row is dropped");
	is_int(load_id(store, "cut"), 0, "a truncated file: the row is dropped");
	ok(!file_exists(dir, cut), "a truncated file is deleted");
	is_int(load_id(store, "fifo"), 0, "not a regular file: the row is dropped");
	is_int(load_id(store, "whole"), whole, "other snapshots stay");
	is_int(count_snapshots(store), 1, "one snapshot is counted");
	ok(!file_exists(dir, 999), "a file without a row is deleted");
	ok(access(below("snapshots/new-3"), F_OK) != 0, "an old temporary file is deleted");
	ok(access(below("snapshots/ff/notes.txt"), F_OK) == 0, "other files stay");
	uint64_t next = commit_id(store, "x", 1, 3);
	ok(next > 999 && next < UINT64_C(1) << 53, "the ids of files without a row are not given");
	store_close(store);
	fixture_end();
}

/* Runs in a child process. Returns the exit code. */
static int use_runtime_dir(void)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;
	char *dir = NULL;

	setenv("XDG_RUNTIME_DIR", below("run"), 1);
	if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
		return 3;
	int fd = store_memory_make(65534, 65534, &dir, &err);
	struct store_setup setup = { .dir_fd = fd, .dir = "memory", .in_memory = true };
	if (fd < 0 || !dir || store_open(&store, &setup, &err) < 0 || !commit_id(store, "x", 1, 1))
		return 1;
	store_close(store);
	store_memory_remove(dir);
	free(dir);
	unsetenv("XDG_RUNTIME_DIR");
	return store_memory_make(65534, 65534, &dir, &err) == -1 && err.kind == ERR_CONFIG ? 0 : 2;
}

/* As an ordinary user, because root is never refused. */
static void test_permission(void)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;
	int status = 0;

	fixture_new();
	mkdir(below("closed"), 0700);
	if (getuid() != 0) {
		ok(true, "no permission # SKIP needs root to become another user");
		fixture_end();
		return;
	}
	chmod(fixture_dir, 0755);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(3);
		int result = open_fresh(&store, below("closed"), &err);
		_exit(result < 0 && strstr(err.msg, "Permission denied") &&
				      strstr(err.msg, "closed")
			      ? 0
			      : 1);
	}
	waitpid(pid, &status, 0);
	is_int(status, 0, "the error names the path that could not be opened");

	/* A store in memory without the right to mount. */
	mkdir(below("run"), 0700);
	if (chown(below("run"), 65534, 65534) < 0)
		printf("# chown failed\n");
	pid = fork();
	if (pid == 0)
		_exit(use_runtime_dir());
	waitpid(pid, &status, 0);
	is_int(status, 0, "a store in memory without the right to mount");
	ok(rmdir(below("run")) == 0, "it leaves nothing behind");
	fixture_end();
}

static void test_places(void)
{
	fixture_new();
	write_file(below("file"), "");
	check_refused(below("file"), ERR_INTERNAL, "Not a directory", "a file");
	check_refused(below("file/store"), ERR_INTERNAL, "Not a directory", "below a file");
	mkdir(below("catalog.db"), 0700);
	check_refused(fixture_dir, ERR_INTERNAL, "catalog.db", "a directory named catalog.db");
	fixture_end();
}

/* Returns a small detached tmpfs, or -1 without the right to make one. */
static int make_tmpfs(const char *size, unsigned attributes)
{
	_cleanup_close_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(context, FSMOUNT_CLOEXEC, attributes);
}

static void test_read_only(void)
{
	_cleanup_close_ int fd = make_tmpfs("1m", MOUNT_ATTR_RDONLY);
	char dir[64];

	if (fd < 0) {
		ok(true, "read-only # SKIP no right to mount a tmpfs");
		return;
	}
	snprintf(dir, sizeof(dir), "/proc/self/fd/%d", fd);
	check_refused(dir, ERR_INTERNAL, "Read-only file system", "a read-only file system");
	snprintf(dir, sizeof(dir), "/proc/self/fd/%d/new", fd);
	check_refused(dir, ERR_INTERNAL, "Read-only file system", "a new store there");
}

/* Writes a file until the disk is full, and returns its descriptor. */
static void fill_disk(const char *dir)
{
	char path[96];
	static const char zeros[4096];

	snprintf(path, sizeof(path), "%s/filler", dir);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	is_int(errno, ENOSPC, "the disk is full");
}

static void test_full_disk(void)
{
	_cleanup_close_ int mount_fd = make_tmpfs("2m", 0);
	char dir[64], filler[96];
	struct err err = ERR_INIT;
	struct store_writer *writer = NULL;
	static const char piece[65536];
	int result = 0;

	if (mount_fd < 0) {
		ok(true, "full disk # SKIP no right to mount a tmpfs");
		return;
	}
	snprintf(dir, sizeof(dir), "/proc/self/fd/%d", mount_fd);
	struct store *store = open_or_bail(dir);
	uint64_t id = commit_id(store, "x", 1, 3);

	/* While bytes are written. */
	store_writer_new(store, &writer, &err);
	for (int i = 0; i < 64 && result == 0; i++)
		result = store_writer_write(writer, piece, sizeof(piece), &err);
	is_int(result, -1, "a body that does not fit fails");
	is_int(err.kind, ERR_INTERNAL, "the error is ERR_INTERNAL");
	ok(strstr(err.msg, "No space left on device") != NULL, "the message names the cause");
	store_writer_free(writer);
	is_int(load_id(store, "x"), id, "the current snapshot stays");

	/* In the catalog: the body is empty, so only the row needs room. */
	uint8_t sha256[DIGEST_SIZE];
	struct snapshot_info info = { .version = "2" };
	struct snapshot *snapshot = NULL;
	store_writer_new(store, &writer, &err);
	store_writer_digest(writer, sha256, &err);
	fill_disk(dir);
	err.msg[0] = '\0';
	for (result = 0; result == 0;) {
		/* The log may have room for a few more rows. */
		result = store_commit(store, writer, "x", &info, 3, &snapshot, &err);
		if (result == 0) {
			id = snapshot->id;
			snapshot_unref(snapshot);
			store_writer_free(writer);
			writer = NULL;
			if (store_writer_new(store, &writer, &err) < 0)
				break;
			store_writer_digest(writer, sha256, &err);
		}
	}
	if (!ok(strstr(err.msg, "No space left on device") != NULL,
		"a row that does not fit fails"))
		printf("# %s\n", err.msg);
	store_writer_free(writer);
	is_int(load_id(store, "x"), id, "the current snapshot is unchanged");
	is_int(count_files(dir), count_snapshots(store), "no file is left behind");
	store_close(store);

	store = open_or_bail(dir);
	is_int(load_id(store, "x"), id, "a store on a full disk opens and serves its snapshots");
	is_int(commit_id(store, "y", 1, 3), 0, "it takes no commit");
	uint32_t life = store_life(store);
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	unlink(filler);
	ok(commit_id(store, "y", 1, 3) > id, "it takes commits when there is room again");
	store_close(store);
	store = open_or_bail(dir);
	is_int(store_life(store), life + 1, "the opening is counted");
	store_close(store);
}

int main(void)
{
	fflush(stdout);
	test_damage("garbage", make_garbage, 1);
	test_damage("truncated", make_truncated, 1);
	test_damage("empty", make_empty, 0);
	test_damage("another program's", make_foreign, 1);
	test_damage("without a table", make_tableless, 1);
	test_damage("without its counters", make_rowless, 1);
	test_damage("giving ids again", make_ids_go_back, 1);
	test_newer();
	test_trigger();
	test_lock();
	test_files();
	test_permission();
	test_places();
	test_read_only();
	test_full_disk();
	return tap_done();
}
