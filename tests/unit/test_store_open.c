/* store: what it finds when it is opened, and what it makes of it. */
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
	is_int(err.kind, kind, "with the right kind");
	if (!ok(strstr(err.msg, text) != NULL, "and says \"%s\"", text))
		printf("# %s\n", err.msg);
	store_close(store);
}

/* Path below the fixture; one at a time. */
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

/* And no file is left to say how far the ids had come. */
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
	ok(truncate(below("catalog.db"), st.st_size - 4096) == 0, "it is cut");
}

static void make_empty(void)
{
	ok(truncate(below("catalog.db"), 0) == 0, "it is cut");
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

/* Every damage ends in the same: a catalog that works, ids that were never given, no old file. */
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
	is_int(load_id(store, "x"), 0, "the new one is empty");
	ok(!file_exists(dir, id), "the old snapshot's file is gone");
	uint64_t next = commit_id(store, "x", 2, 3);
	ok(next > directory, "ids go on behind all that may have been given");
	ok(next < UINT64_C(1) << 53, "and are numbers that everybody can read");
	store_close(store);
	store = open_or_bail(dir);
	is_int(load_id(store, "x"), next, "and it lasts");
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
	is_int(count_set_aside(), 0, "and it is left alone");
	fixture_end();
}

static void test_lock(void)
{
	const char *dir = fixture_new();
	char text[64];

	struct store *store = open_or_bail(dir);
	snprintf(text, sizeof(text), "used by process %d", (int)getpid());
	check_refused(dir, ERR_CONFIG, text, "a store in use");
	ok(commit_id(store, "x", 1, 0) != 0, "the first goes on");
	store_close(store);
	store_close(open_or_bail(dir));
	ok(true, "a closed one is free again");
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
	ok(truncate(file_path(dir, cut), 3) == 0, "a file is cut");
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
	is_int(load_id(store, "cut"), 0, "a cut file: the row is dropped");
	ok(!file_exists(dir, cut), "and the file");
	is_int(load_id(store, "fifo"), 0, "something else than a file: the row is dropped");
	is_int(load_id(store, "whole"), whole, "the others stay");
	is_int(count_snapshots(store), 1, "one snapshot is counted");
	ok(!file_exists(dir, 999), "a file that the catalog does not know is removed");
	ok(access(below("snapshots/new-3"), F_OK) != 0, "an abandoned temporary file too");
	ok(access(below("snapshots/ff/notes.txt"), F_OK) == 0, "what is not ours stays");
	uint64_t next = commit_id(store, "x", 1, 3);
	ok(next > 999 && next < UINT64_C(1) << 53, "the ids of unknown files are not given");
	store_close(store);
	fixture_end();
}

/* In a child; returns its exit code. */
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

/* As an ordinary user: root may do everything. */
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
	is_int(status, 0, "no permission is said, with the path");

	/* The store in memory, without the right to mount. */
	mkdir(below("run"), 0700);
	if (chown(below("run"), 65534, 65534) < 0)
		printf("# chown failed\n");
	pid = fork();
	if (pid == 0)
		_exit(use_runtime_dir());
	waitpid(pid, &status, 0);
	is_int(status, 0, "a store in memory without the right to mount");
	ok(rmdir(below("run")) == 0, "leaves nothing behind");
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

/* A small file system that is attached nowhere; -1 without the right to make one. */
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

/* Writes until the disk is full; returns the file that did it. */
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

	/* While the bytes arrive. */
	store_writer_new(store, &writer, &err);
	for (int i = 0; i < 64 && result == 0; i++)
		result = store_writer_write(writer, piece, sizeof(piece), &err);
	is_int(result, -1, "a body that does not fit fails");
	is_int(err.kind, ERR_INTERNAL, "as an internal error");
	ok(strstr(err.msg, "No space left on device") != NULL, "that names the cause");
	store_writer_free(writer);
	is_int(load_id(store, "x"), id, "what was there stays");

	/* In the catalog: the body is empty, so that only the row needs room. */
	uint8_t sha256[DIGEST_SIZE];
	struct snapshot_info info = { .version = "2" };
	struct snapshot *snapshot = NULL;
	store_writer_new(store, &writer, &err);
	store_writer_digest(writer, sha256, &err);
	fill_disk(dir);
	err.msg[0] = '\0';
	for (result = 0; result == 0;) {
		/* The log may have room for a few more. */
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
	if (!ok(strstr(err.msg, "No space left on device") != NULL, "a row that does not fit"))
		printf("# %s\n", err.msg);
	store_writer_free(writer);
	is_int(load_id(store, "x"), id, "leaves everything as it was");
	is_int(count_files(dir), count_snapshots(store), "and no file");
	store_close(store);

	store = open_or_bail(dir);
	is_int(load_id(store, "x"), id, "a store on a full disk opens and gives what it has");
	is_int(commit_id(store, "y", 1, 3), 0, "but takes nothing");
	uint32_t life = store_life(store);
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	unlink(filler);
	ok(commit_id(store, "y", 1, 3) > id, "until there is room again");
	store_close(store);
	store = open_or_bail(dir);
	is_int(store_life(store), life + 1, "and its life is counted");
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
	test_lock();
	test_files();
	test_permission();
	test_places();
	test_read_only();
	test_full_disk();
	return tap_done();
}
