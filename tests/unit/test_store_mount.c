/* store: taking over a mount, opening for a fresh mount, removing orphans, peeking. */
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "store_fixture.h"

#define N_HELD 16

struct found {
	size_t n;
	uint64_t ids[N_HELD];
	char terms[N_HELD][16];
	enum snapshot_integrity integrity[N_HELD];
};

static int note_held(void *arg, const char *term, struct snapshot *snapshot, struct err *err)
{
	struct found *found = arg;

	(void)err;
	if (found->n < N_HELD) {
		found->ids[found->n] = snapshot->id;
		found->integrity[found->n] = atomic_load(&snapshot->integrity);
		snprintf(found->terms[found->n], sizeof(found->terms[0]), "%s", term);
		found->n++;
	}
	snapshot_unref(snapshot);
	return 0;
}

static struct found list_held(struct store *store)
{
	struct found found = { .n = 0 };
	struct err err = ERR_INIT;

	if (store_list_held(store, note_held, &found, &err) < 0)
		printf("# %s\n", err.msg);
	return found;
}

static bool is_held(struct store *store, const char *term, uint64_t id)
{
	struct found found = list_held(store);

	for (size_t i = 0; i < found.n; i++) {
		if (found.ids[i] == id && strcmp(found.terms[i], term) == 0)
			return true;
	}
	return false;
}

static struct store *take_over(const char *dir, uint64_t mount)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;

	if (open_mount(&store, dir, mount, &err) < 0) {
		printf("Bail out! taking over: %s\n", err.msg);
		exit(1);
	}
	return store;
}

static void release_id(struct store *store, uint64_t id)
{
	struct snapshot *snapshot = snapshot_new("", "");

	snapshot->id = id;
	store_release(store, snapshot);
	snapshot_unref(snapshot);
}

/* Runs in a child that is killed; its results are in shared memory. */
struct said {
	uint64_t mount;
	uint32_t life;
	uint64_t ids[8];
	uint64_t directory;
};

static struct said *said;

static void run_and_kill(void (*run)(const char *dir), const char *dir)
{
	int status = 0;

	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		run(dir);
		raise(SIGKILL);
	}
	waitpid(pid, &status, 0);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the previous process was killed");
}

static void be_first(const char *dir)
{
	static const char *const all[] = { "dropped", "gone", "hidden", "unconfigured", "x" };
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;

	store_retain(store, all, ARRAY_SIZE(all));
	said->mount = store_mount(store);
	said->life = store_life(store);
	for (unsigned i = 0; i < 3; i++)
		said->ids[i] = commit_id(store, "x", i, 0);
	release_id(store, said->ids[0]);
	said->ids[3] = commit_id(store, "hidden", 3, 0);
	store_remove_current(store, "hidden", &err);
	said->ids[4] = commit_id(store, "dropped", 4, 0);
	struct snapshot *snapshot = load(store, "dropped");
	store_drop(store, snapshot, &err);
	said->ids[5] = commit_id(store, "unconfigured", 5, 0);
	store_directory_id(store, "geo", &said->directory, &err);
}

static void test_take_over(void)
{
	static const char *const some[] = { "dropped", "hidden", "x" };
	const char *dir = fixture_new();
	struct err err = ERR_INIT;
	uint64_t directory = 0;

	run_and_kill(be_first, dir);
	struct store *store = take_over(dir, said->mount);
	store_retain(store, some, ARRAY_SIZE(some));
	is_int(store_mount(store), said->mount, "the mount's number is the same");
	is_int(store_life(store), said->life + 1, "store_life() rises");
	is_int(load_id(store, "x"), said->ids[2], "the current snapshot is still current");
	ok(!file_exists(dir, said->ids[0]), "a released snapshot is deleted");
	ok(is_held(store, "x", said->ids[1]), "a superseded snapshot is held");
	ok(is_held(store, "hidden", said->ids[3]), "a removed snapshot is held");
	ok(is_held(store, "dropped", said->ids[4]), "a corrupt snapshot is held");
	ok(is_held(store, "unconfigured", said->ids[5]),
	   "a snapshot of an unconfigured term is held");
	struct found found = list_held(store);
	is_int(found.n, 4, "nothing else is held");
	for (size_t i = 0; i < found.n; i++) {
		is_int(found.integrity[i],
		       found.ids[i] == said->ids[4] ? SNAPSHOT_CORRUPT : SNAPSHOT_VERIFIED,
		       "the integrity of %s is unchanged", found.terms[i]);
		ok(file_exists(dir, found.ids[i]), "its bytes are there");
	}
	is_int(count_snapshots(store), 5, "all snapshots are counted");
	store_directory_id(store, "geo", &directory, &err);
	is_int(directory, said->directory, "the id of a directory is unchanged");
	ok(commit_id(store, "x", 7, 0) > said->directory,
	   "new ids are larger than all previous ones");
	ok(is_held(store, "x", said->ids[2]), "a newly superseded snapshot is held");
	release_id(store, said->ids[1]);
	release_id(store, said->ids[4]);
	is_int(list_held(store).n, 3, "released snapshots are not held");
	ok(!file_exists(dir, said->ids[1]) && !file_exists(dir, said->ids[4]), "they are deleted");
	store_close(store);

	store = take_over(dir, said->mount);
	is_int(list_held(store).n, 3, "the same are held after closing and opening");
	store_close(store);

	store = open_or_bail(dir);
	store_retain(store, some, ARRAY_SIZE(some));
	is_int(store_mount(store), said->mount + 1, "a fresh mount has the next number");
	is_int(list_held(store).n, 0, "nothing is held");
	ok(!file_exists(dir, said->ids[2]), "without history it is deleted");
	ok(load_id(store, "unconfigured") == said->ids[5],
	   "a snapshot of an unconfigured term is kept");
	store_close(store);
	fixture_end();
}

static void check_not_taken(const char *dir, uint64_t mount, const char *what)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;

	is_int(open_mount(&store, dir, mount, &err), -1, "%s cannot be taken over", what);
	is_int(err.kind, ERR_BAD_DATA, "the error is ERR_BAD_DATA");
	if (!ok(strstr(err.msg, dir) &&
			strstr(err.msg, "is not the one that this mount was served"),
		"the message names the store and the reason"))
		printf("# %s\n", err.msg);
	store_close(store);
}

static void test_another_store(void)
{
	const char *dir = fixture_new();
	char path[PATH_MAX + 16];

	check_not_taken(dir, 12345, "an empty directory");
	is_int(count_files(dir), 0, "no file is made");
	snprintf(path, sizeof(path), "%s/catalog.db", dir);
	ok(access(path, F_OK) < 0, "no catalog is made");

	struct store *store = open_or_bail(dir);
	uint64_t mount = store_mount(store);
	uint64_t id = commit_id(store, "x", 1, 3);
	store_close(store);
	check_not_taken(dir, mount + 2, "a later mount");
	check_not_taken(dir, mount - 1, "an earlier mount");
	store_close(take_over(dir, mount + 1));
	ok(true, "a mount whose opening was not recorded can be taken over");
	check_not_taken(dir, mount, "then the one before");

	ok(truncate(path, 5000) == 0, "the catalog is damaged");
	check_not_taken(dir, mount + 1, "a damaged one");
	struct stat st;
	ok(stat(path, &st) == 0 && st.st_size == 5000, "the catalog is not changed");
	ok(file_exists(dir, id), "the files are not deleted");
	fixture_end();

	dir = fixture_new();
	store = open_or_bail(dir);
	ok(store_mount(store) != mount && store_mount(store) > 1,
	   "two stores do not share mount numbers");
	store_close(store);
	fixture_end();
}

static void leave_files(const char *dir)
{
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	char name[48];

	said->mount = store_mount(store);
	said->ids[0] = commit_id(store, "x", 1, 3);
	said->ids[1] = said->ids[0] + 1;
	write_file(file_path(dir, said->ids[1]), "between link and row");
	snprintf(name, sizeof(name), "%s/snapshots/new-%u-0", dir, store_life(store));
	write_file(name, "half a body");
	store_directory_id(store, "geo", &said->directory, &err);
}

static void test_orphans_are_removed(void)
{
	const char *dir = fixture_new();
	struct err err = ERR_INIT;
	char own[PATH_MAX + 48];

	run_and_kill(leave_files, dir);
	struct store *store = take_over(dir, said->mount);
	is_int(count_files(dir), 3, "files of the killed process stay at first");
	uint64_t id = commit_id(store, "y", 2, 3);
	/* As in a commit of this process: a file without a row, and an unfinished body. */
	write_file(file_path(dir, id + 1), "between link and row");
	snprintf(own, sizeof(own), "%s/snapshots/new-%u-0", dir, store_life(store));
	write_file(own, "half a body");
	ok(store_remove_orphans(store, &err) == 0, "orphans are removed later");
	ok(!file_exists(dir, said->ids[1]), "the file without a row is deleted");
	is_int(count_files(dir), 4, "the old temporary file is deleted, and nothing else");
	ok(file_exists(dir, said->ids[0]) && file_exists(dir, id), "files with a row stay");
	ok(file_exists(dir, id + 1) && access(own, F_OK) == 0, "files of this process stay");
	store_close(store);
	fixture_end();
}

static void test_peek(void)
{
	const char *dir = fixture_new();
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err err = ERR_INIT;
	char path[PATH_MAX + 16];

	ok(store_peek(fd, dir, &err) == 0, "an empty directory is accepted");
	struct store *store = open_or_bail(dir);
	ok(store_peek(fd, dir, &err) == 0, "a store that is in use is accepted");
	snprintf(path, sizeof(path), "%s/catalog.db", dir);
	_cleanup_close_ int catalog = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char version[4] = { 0 };
	ok(pread(catalog, version, sizeof(version), 60) == 4 && version[3] == 3,
	   "its format is in the first page");
	unsigned n_bad = 0;
	for (unsigned i = 0; i < 300; i++) {
		commit_id(store, "x", i, 1);
		n_bad += store_peek(fd, dir, &err) < 0;
	}
	is_int(n_bad, 0, "it is accepted while its owner writes");
	store_close(store);
	ok(store_peek(fd, dir, &err) == 0, "it is accepted afterwards");

	tamper(dir, "PRAGMA journal_mode = DELETE; PRAGMA user_version = 99");
	is_int(store_peek(fd, dir, &err), -1, "a store of a newer rptfs is refused");
	ok(err.kind == ERR_CONFIG && strstr(err.msg, "newer rptfs (format 99"),
	   "the error is ERR_CONFIG and names the format");
	tamper(dir, "PRAGMA application_id = 7");
	is_int(store_peek(fd, dir, &err), -1, "the database of another program is refused");
	is_int(err.kind, ERR_BAD_DATA, "the error is ERR_BAD_DATA");
	write_file(path, "garbage");
	is_int(store_peek(fd, dir, &err), -1, "garbage is refused");
	is_int(err.kind, ERR_BAD_DATA, "the error is ERR_BAD_DATA");
	fixture_end();
}

/* Runs in a child process: closes the store at the first byte, ends at the second. Returns the exit
 * code. */
static int hold_until_asked(const char *dir, int ready, int asked)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct store *store = open_or_bail(dir);
	char byte = 0;

	said->mount = store_mount(store);
	said->ids[0] = commit_id(store, "x", 1, 3);
	/* A child inherits every descriptor. */
	pid_t heir = fork();
	if (heir == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	bool is_asked = write(ready, &byte, 1) == 1 && read(asked, &byte, 1) == 1;
	store_close(store);
	is_asked = is_asked && write(ready, &byte, 1) == 1 && read(asked, &byte, 1) == 1;
	kill(heir, SIGKILL);
	waitpid(heir, NULL, 0);
	return is_asked ? 0 : 2;
}

static void test_hand_over(void)
{
	const char *dir = fixture_new();
	struct err err = ERR_INIT;
	struct store *store = NULL;
	int ready[2], asked[2], status;
	char byte = 0;

	if (pipe(ready) < 0 || pipe(asked) < 0)
		return;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		_exit(hold_until_asked(dir, ready[1], asked[0]));
	is_int(read(ready[0], &byte, 1), 1, "one process uses the store");
	is_int(open_mount(&store, dir, said->mount, &err), -1, "a second process cannot");
	is_int(err.kind, ERR_CONFIG, "the error is ERR_CONFIG");
	ok(write(asked[1], &byte, 1) == 1 && read(ready[0], &byte, 1) == 1, "the first closes it");
	store = take_over(dir, said->mount);
	ok(store != NULL, "the second process opens it before the first has ended");
	is_int(load_id(store, "x"), said->ids[0], "the committed snapshot is there");
	store_close(store);
	ok(write(asked[1], &byte, 1) == 1, "the first ends");
	waitpid(pid, &status, 0);
	is_int(status, 0, "with exit code 0");
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(asked[i]);
	}
	fixture_end();
}

int main(void)
{
	log_set_level(LOG_LEVEL_WARNING);
	said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	test_take_over();
	test_another_store();
	test_orphans_are_removed();
	test_peek();
	test_hand_over();
	munmap(said, sizeof(*said));
	return tap_done();
}
