/* store: making its directory, changing its owner, setting it aside, older formats. */
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "store_fixture.h"
#include "load_term.h"

#define WORKER 65534

/* Returns a path below the fixture, in a static buffer. */
static const char *below(const char *name)
{
	static char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", fixture_dir, name);
	return path;
}

static uid_t owner_of(const char *name)
{
	struct stat st;

	return lstat(below(name), &st) < 0 ? (uid_t)-1 : st.st_uid;
}

static int make_for(const char *name, uid_t user, struct err *err)
{
	return store_directory_make(below(name), user, user, err);
}

/* Does what a worker does, as another user, with a descriptor only: returns the id that it loads, 0
 * for none, and commits once. */
static uint64_t use_as(uid_t user, int dir_fd)
{
	struct store_setup setup = { .dir_fd = dir_fd, .dir = "handed over" };
	struct err err = ERR_INIT;
	struct store *store = NULL;
	uint64_t id = 0;
	int answer[2];

	if (pipe(answer) < 0)
		return 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresgid(user, user, user) < 0 || setresuid(user, user, user) < 0)
			_exit(1);
		if (store_open(&store, &setup, &err) < 0) {
			printf("# %s\n", err.msg);
			fflush(stdout);
			_exit(1);
		}
		id = load_id(store, "x");
		if (commit_id(store, "x", 9, 3) == 0 ||
		    write(answer[1], &id, sizeof(id)) != sizeof(id))
			_exit(1);
		store_close(store);
		_exit(0);
	}
	close(answer[1]);
	if (read(answer[0], &id, sizeof(id)) != sizeof(id))
		id = UINT64_MAX;
	close(answer[0]);
	int status = 0;
	waitpid(pid, &status, 0);
	is_int(status, 0, "its user can use it by descriptor");
	return id;
}

static void test_for_another_user(void)
{
	struct err err = ERR_INIT;

	fixture_new();
	/* 0700: the worker cannot access the path. */
	_cleanup_close_ int fd = make_for("var/store", WORKER, &err);
	ok(fd >= 0, "a directory is made for another user");
	is_int(owner_of("var/store"), WORKER, "it belongs to that user");
	is_int(owner_of("var"), 0, "its parent does not");
	is_int(use_as(WORKER, fd), 0, "an empty store is used");
	ok(use_as(WORKER, fd) > 1, "a store with a snapshot is used");
	fixture_end();
}

static void test_made_over(void)
{
	struct err err = ERR_INIT;

	fixture_new();
	mkdir(below("store"), 0700);
	struct store *store = open_or_bail(below("store"));
	uint64_t id = commit_id(store, "x", 1, 3);
	store_close(store);
	mkdir(below("store/aside-2026"), 0700);
	write_file(below("store/aside-2026/catalog.db"), "old");
	write_file(below("store/notes.txt"), "somebody's");
	write_file(below("secret"), "root's");
	mkdir(below("elsewhere"), 0700);
	write_file(below("elsewhere/1"), "root's");
	if (symlinkat("../secret", AT_FDCWD, below("store/catalog.db-link")) < 0 ||
	    symlinkat("../../elsewhere", AT_FDCWD, below("store/snapshots/ff")) < 0)
		printf("# cannot make links\n");

	mkdir(below("store/snapshots/ee"), 0700);
	bool is_mounted = mount("tmpfs", below("store/snapshots/ee"), "tmpfs", 0, "size=64k") == 0;

	_cleanup_close_ int fd = make_for("store", WORKER, &err);
	if (!ok(fd >= 0, "the owner of root's store is changed"))
		printf("# %s\n", err.msg);
	is_int(owner_of("store/snapshots/ee"), is_mounted ? 0 : WORKER, "not another file system%s",
	       is_mounted ? "" : " # SKIP no right to mount");
	if (is_mounted)
		umount2(below("store/snapshots/ee"), MNT_DETACH);
	rmdir(below("store/snapshots/ee"));
	is_int(owner_of("store"), WORKER, "the directory changes its owner");
	is_int(owner_of("store/catalog.db"), WORKER, "the catalog does");
	is_int(owner_of("store/lock"), WORKER, "the lock does");
	is_int(owner_of("store/snapshots"), WORKER, "snapshots/ does");
	is_int(owner_of("store/snapshots/00"), WORKER, "each directory in it does");
	is_int(owner_of("store/snapshots/00/2"), WORKER, "each file does");
	is_int(owner_of("store/aside-2026/catalog.db"), WORKER, "what was set aside does");
	is_int(owner_of("store/notes.txt"), 0, "other files do not");
	is_int(owner_of("secret"), 0, "the target of a link does not");
	is_int(owner_of("elsewhere"), 0, "nor a directory that is the target of a link");
	is_int(owner_of("elsewhere/1"), 0, "nor its content");
	unlink(below("store/snapshots/ff"));
	unlink(below("store/catalog.db-link"));
	is_int(use_as(WORKER, fd), id, "the new owner uses it");

	_cleanup_close_ int back = make_for("store", 0, &err);
	ok(back >= 0 && owner_of("store/catalog.db") == 0, "the owner can be changed back");
	fixture_end();
}

/* The owner of a hard link to another user's file must not be changed. */
static void test_hard_link(void)
{
	struct err err = ERR_INIT;

	fixture_new();
	write_file(below("secret"), "root's");
	_cleanup_close_ int fd = make_for("store", WORKER, &err);
	use_as(WORKER, fd);
	char secret[PATH_MAX + 64];
	snprintf(secret, sizeof(secret), "%s", below("secret"));
	ok(link(secret, below("store/snapshots/00/77")) == 0, "a hard link in the store");
	_cleanup_close_ int next = make_for("store", WORKER - 1, &err);
	ok(next >= 0 && owner_of("store/snapshots/00/2") == WORKER - 1,
	   "the owner of the store is changed");
	is_int(owner_of("secret"), 0, "the owner of the linked file is not");
	fixture_end();
}

static void test_no_store(void)
{
	struct err err = ERR_INIT;

	fixture_new();
	mkdir(below("lib"), 0755);
	mkdir(below("lib/snapshots"), 0755);
	write_file(below("lib/passwords"), "root's");
	is_int(make_for("lib", WORKER, &err), -1,
	       "the owner of a directory that is not a store is not changed");
	ok(err.kind == ERR_CONFIG && strstr(err.msg, "neither a store nor empty"),
	   "the error says so");
	ok(owner_of("lib") == 0 && owner_of("lib/snapshots") == 0, "nothing has changed");

	unlink(below("lib/passwords"));
	write_file(below("lib/lock"), "4711\n");
	write_file(below("lib/catalog.db"), "of another program");
	is_int(make_for("lib", WORKER, &err), -1, "the names of a store are not enough");
	is_int(owner_of("lib/lock"), 0, "their owner is not changed");
	_cleanup_close_ int own = make_for("lib", 0, &err);
	ok(own >= 0, "what an interrupted start left is used by its owner");
	write_file(below("lib/notes.txt"), "somebody's");
	is_int(make_for("lib", 0, &err), -1, "not a directory with other files, whoever owns it");

	mkdir(below("disk"), 0755);
	mkdir(below("disk/lost+found"), 0700);
	_cleanup_close_ int fd = make_for("disk", WORKER, &err);
	ok(fd >= 0 && owner_of("disk") == WORKER, "a new file system counts as empty");
	is_int(owner_of("disk/lost+found"), 0, "lost+found keeps its owner");
	fixture_end();
}

/* A directory like /tmp: everybody can make a catalog in it. */
static void test_shared(void)
{
	struct err err = ERR_INIT;

	fixture_new();
	mkdir(below("shared"), 0700);
	chmod(below("shared"), 01777);
	is_int(make_for("shared", WORKER, &err), -1, "a directory of all users is no store");
	ok(err.kind == ERR_CONFIG && strstr(err.msg, "all users share the directory"),
	   "the error says so: %s", err.msg);

	chmod(below("shared"), 0700);
	_cleanup_close_ int fd = make_for("shared", WORKER, &err);
	use_as(WORKER, fd);
	chmod(below("shared"), 01777);
	ok(store_directory_check(below("shared"), &err) == 0,
	   "unless its owner has made the store");
	if (chown(below("shared"), 0, 0) < 0)
		printf("# %s\n", strerror(errno));
	is_int(store_directory_check(below("shared"), &err), -1, "and not somebody else");
	is_int(make_for("shared", WORKER, &err), -1, "who is refused the directory");
	is_int(owner_of("shared"), 0, "whose owner is not changed");
	fixture_end();
}

/* As docker run --tmpfs makes it. */
static void test_tmpfs(void)
{
	struct err err = ERR_INIT;

	fixture_new();
	if (mount("tmpfs", fixture_dir, "tmpfs", 0, "size=1m") < 0) {
		ok(true, "a tmpfs # SKIP no right to mount one");
		fixture_end();
		return;
	}
	is_int(store_directory_check(fixture_dir, &err), 0, "an empty tmpfs is accepted: %s",
	       err.msg);
	mkdir(below("other"), 0700);
	is_int(store_directory_check(fixture_dir, &err), -1, "one that others use is not");
	umount2(fixture_dir, MNT_DETACH);
	fixture_end();
}

static void test_used(void)
{
	struct err err = ERR_INIT;

	fixture_new();
	mkdir(below("store"), 0700);
	struct store *store = open_or_bail(below("store"));
	is_int(make_for("store", WORKER, &err), -1, "the owner of a store in use is not changed");
	ok(err.kind == ERR_CONFIG && strstr(err.msg, "while it is used"), "the error says so");
	is_int(owner_of("store/lock"), 0, "nothing has changed");
	_cleanup_close_ int same = make_for("store", 0, &err);
	ok(same >= 0, "its directory can be opened for its owner");
	store_close(store);
	_cleanup_close_ int next = make_for("store", WORKER, &err);
	ok(next >= 0 && owner_of("store/lock") == WORKER, "afterwards the owner can be changed");
	fixture_end();
}

static unsigned count_aside(const char *with)
{
	DIR *dir = opendir(fixture_dir);
	struct dirent *entry;
	char path[PATH_MAX + 300];
	unsigned n = 0;

	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s/%s", fixture_dir, entry->d_name, with);
		n += strncmp(entry->d_name, "aside-", 6) == 0 && access(path, F_OK) == 0;
	}
	closedir(dir);
	return n;
}

static void test_set_aside(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	uint64_t mount = store_mount(store);
	uint64_t last = 0, directory = 0;

	for (unsigned i = 0; i < 3; i++)
		last = commit_id(store, "x", i, 3);
	store_directory_id(store, "geo", &directory, &err);
	store_close(store);
	/* None of it is read. */
	write_file(below("catalog.db"), "content that crashes its reader");
	log_set_level(LOG_LEVEL_ERROR + 1);
	for (unsigned round = 1; round <= 4; round++) {
		_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct store_setup setup = { .dir_fd = fd, .dir = dir, .set_aside = true };
		unsigned n_kept = round < 2 ? round : 2;

		store = NULL;
		if (!ok(store_open(&store, &setup, &err) == 0, "set aside, time %u", round)) {
			printf("# %s\n", err.msg);
			return;
		}
		is_int(count_aside("catalog.db"), n_kept, "%u catalogs are kept", n_kept);
		is_int(count_aside("snapshots"), n_kept, "their snapshots are kept");
		ok(store_mount(store) != mount && store_mount(store) != mount + 1,
		   "mount numbers begin anew");
		mount = store_mount(store);
		is_int(load_id(store, "x"), 0, "the new store is empty");
		is_int(count_files(dir), 0, "it has no files");
		uint64_t next = commit_id(store, "x", round, 3);
		ok(next > directory && next > last, "its ids are larger than all previous ones");
		ok(next < UINT64_C(1) << 53, "ids are below 2^53");
		last = next;
		store_close(store);
	}
	log_set_level(LOG_LEVEL_WARNING);
	store = open_or_bail(dir);
	is_int(load_id(store, "x"), last, "the last store is opened unchanged");
	is_int(count_aside("catalog.db"), 2, "what was set aside stays");
	store_close(store);
	fixture_end();
}

/* The clock went back; the ids are derived from files. */
static void test_set_aside_ids(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	uint64_t far = (uint64_t)(clock_wall_ms() / MS_PER_S + 1000000) << 20;
	char path[PATH_MAX + 64];

	store_close(store);
	snprintf(path, sizeof(path), "%s/snapshots/%02x", dir, (unsigned)(far >> 8 & 255));
	mkdir(path, 0700);
	write_file(file_path(dir, far), "of a day to come");
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct store_setup setup = { .dir_fd = fd, .dir = dir, .set_aside = true };
	log_set_level(LOG_LEVEL_ERROR + 1);
	ok(store_open(&store, &setup, &err) == 0, "a store with files of the future is set aside");
	log_set_level(LOG_LEVEL_WARNING);
	ok(commit_id(store, "x", 1, 3) > far, "its ids are not given again");
	store_close(store);
	fixture_end();
}

/* A store of format 1, with a current, a superseded and held, and an unconfigured snapshot. */
static const char format_1[] =
	"CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1),"
	" next_id INTEGER NOT NULL CHECK (next_id > 1), life INTEGER NOT NULL,"
	" boot INTEGER NOT NULL, boot_id TEXT NOT NULL) STRICT;"
	"CREATE TABLE term (term INTEGER PRIMARY KEY,"
	" name TEXT NOT NULL UNIQUE CHECK (name <> ''), current INTEGER,"
	" history INTEGER NOT NULL DEFAULT 3, published_at_ms INTEGER NOT NULL DEFAULT 0,"
	" missed_since_ms INTEGER, missed_in INTEGER) STRICT;"
	"CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id > 1), term INTEGER NOT NULL,"
	" size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0), mtime_ms INTEGER NOT NULL,"
	" fetched_at_ms INTEGER NOT NULL, published_at_ms INTEGER NOT NULL,"
	" order_key INTEGER NOT NULL, sha256 BLOB NOT NULL CHECK (length(sha256) = 32),"
	" version TEXT NOT NULL, source TEXT NOT NULL, token TEXT, fingerprint INTEGER NOT NULL,"
	" verified_in INTEGER NOT NULL, held_in INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE INDEX snapshot_term ON snapshot (term, id);"
	"CREATE TABLE refused (term INTEGER NOT NULL, fingerprint INTEGER NOT NULL,"
	" token TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (term, fingerprint))"
	" STRICT, WITHOUT ROWID;"
	"CREATE TABLE directory (path TEXT PRIMARY KEY,"
	" id INTEGER NOT NULL UNIQUE CHECK (id > 1)) STRICT, WITHOUT ROWID;"
	"INSERT INTO store VALUES (1, 40, 3, 2, 'a boot id');"
	"INSERT INTO term VALUES (1, 'x', 7, 3, 900, NULL, NULL);"
	"INSERT INTO term VALUES (2, 'y', 8, 3, 900, 800, 3);"
	"INSERT INTO snapshot VALUES (6, 1, 4, 1, 500, 600, -1, zeroblob(32), 'v6', 's', NULL,"
	" 0, 2, 3);"
	"INSERT INTO snapshot VALUES (7, 1, 4, 1700000000250, 700, 900, -1, zeroblob(32), 'v7', "
	"'s', 't7',"
	" -2, 2, 0);"
	"INSERT INTO snapshot VALUES (8, 2, 4, 1, 700, 900, -1, zeroblob(32), 'v8', 's', 't8',"
	" -2, 2, 0);"
	"INSERT INTO refused VALUES (1, -2, 'bad', 'too large');"
	"INSERT INTO directory VALUES ('geo', 9);"
	"PRAGMA application_id = 1919972454;"
	"PRAGMA user_version = 1;";

static void test_format_1(void)
{
	const char *dir = fixture_new();
	struct err err = ERR_INIT;
	struct store_term loaded = { .snapshot = NULL };
	uint64_t directory = 0;
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	tamper(dir, format_1);
	mkdir(below("snapshots"), 0700);
	mkdir(below("snapshots/00"), 0700);
	for (uint64_t id = 6; id <= 8; id++)
		write_file(file_path(dir, id), "four");
	ok(store_peek(fd, dir, &err) == 0, "a store of format 1 is accepted");
	struct store *store = open_or_bail(dir);
	uint64_t mount = store_mount(store);
	is_int(store_life(store), 4, "store_life() continues");
	load_term(store, "x", &loaded, &err);
	is_int(loaded.snapshot->id, 7, "the current one");
	is_str(loaded.token, "t7", "its token");
	ok(loaded.fingerprint == UINT64_MAX - 1, "its fingerprint");
	is_int(loaded.snapshot->mtime.tv_sec, 1700000000, "its mtime");
	is_int(loaded.snapshot->mtime.tv_nsec, 250000000, "its nanoseconds");
	is_int(loaded.confirmed_at_ms, 700, "the time of fetching is the time of confirmation");
	store_term_release(&loaded);
	store_directory_id(store, "geo", &directory, &err);
	is_int(directory, 9, "the directory has its id");
	ok(strncmp(find_refused(store, "x", UINT64_MAX - 1), "bad: ", 5) == 0, "the refused token");
	is_int(count_snapshots(store), 3, "all snapshots are there");
	is_int(commit_id(store, "x", 1, 3), 40, "ids continue");
	store_close(store);
	is_int(tamper(dir, "PRAGMA user_version"), 3, "it has the current format");
	is_int(tamper(dir, "SELECT count(*) FROM term WHERE missed_since_ms = 800"), 1,
	       "an unconfigured term stays unconfigured");

	store = open_or_bail(dir);
	is_int(store_mount(store), mount + 1, "mounts are counted");
	is_int(load_id(store, "x"), 40, "the new snapshot survives");
	store_close(store);
	fixture_end();
}

int main(void)
{
	log_set_level(LOG_LEVEL_WARNING);
	if (getuid() == 0) {
		test_for_another_user();
		test_made_over();
		test_hard_link();
		test_no_store();
		test_shared();
		test_tmpfs();
		test_used();
	} else {
		ok(true, "making over # SKIP needs root");
	}
	test_set_aside();
	test_set_aside_ids();
	test_format_1();
	return tap_done();
}
