/*
 * librpt on a fake rptfs mount: a tmpfs with .rpt/generations, whose words the test changes.
 */
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#include "librpt_fixture.h"
#include "own_namespace.h"

#define SIZE   (8L << 20)
#define SLOT   600 /* not on the page of word 0 */
#define PLACE  "mnt"
#define TERM   PLACE "/dir/t"
#define STAGED PLACE "/.rpt/staged"

static uint64_t *words;

static bool mount_fake(void)
{
	if (mount("fake", PLACE, "tmpfs", 0, "size=16m") < 0)
		return false;
	mkdir(PLACE "/.rpt", 0755);
	mkdir(PLACE "/dir", 0755);
	int fd = open(PLACE "/.rpt/generations", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		return false;
	words = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return words != MAP_FAILED;
}

static void unmount_fake(void)
{
	munmap(words, SIZE);
	if (umount2(PLACE, MNT_DETACH) < 0)
		perror("umount");
}

static void stage(const char *path, const char *text, const char *version, unsigned slot)
{
	char number[16];
	int length = snprintf(number, sizeof(number), "%u", slot);

	write_file(path, text);
	if (setxattr(path, "user.rpt.slot", number, (size_t)length, 0) < 0 ||
	    setxattr(path, "user.rpt.version", version, strlen(version), 0) < 0)
		perror("setxattr");
}

/* Moves the name, but does not change the word. */
static void move_name(const char *text, const char *version)
{
	stage(STAGED, text, version, SLOT);
	if (rename(STAGED, TERM) < 0)
		perror("rename");
}

static void raise_word(unsigned slot, uint64_t id)
{
	__atomic_store_n(&words[slot], id, __ATOMIC_RELEASE);
	if (words[0] < id)
		__atomic_store_n(&words[0], id, __ATOMIC_RELEASE);
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void follow_name(unsigned slot)
{
	raise_word(slot, inode_of(TERM));
}

static void publish(const char *text, const char *version)
{
	move_name(text, version);
	follow_name(SLOT);
}

/* Publishes with inode number `id`, which this mount has not used yet. */
static void publish_as(ino_t id, const char *text, const char *version)
{
	do {
		unlink(STAGED);
		stage(STAGED, text, version, SLOT);
	} while (inode_of(STAGED) < id);
	if (rename(STAGED, TERM) < 0)
		perror("rename");
	follow_name(SLOT);
}

/* Raises the word to a number that is no file's. */
static void raise_word_only(unsigned slot)
{
	raise_word(slot, words[slot] + 100000);
}

/* Waits at most 3 s. */
static bool comes_to_give(struct rpt_term *term, const char *text)
{
	for (int i = 0; i < 300 && !gives(term, text); i++)
		usleep(10000);
	return gives(term, text);
}

static bool is_detached(struct rpt_term *term, const char *text)
{
	struct rpt_value value;

	return rpt_term_get(term, &value) == 0 && holds(&value, text) && value.detached &&
	       rpt_term_check(term) != RPT_UNCHANGED;
}

/* The same second for all that follows. */
static void start_of_second(void)
{
	for (time_t now = time(NULL); time(NULL) == now;)
		usleep(1000);
}

static void test_words(void)
{
	struct rpt_value value;

	publish("one", "v1");
	struct rpt_term *term = open_term(TERM);
	ok(rpt_term_get(term, &value) == 0 && holds(&value, "one"), "the first value");
	is_str(value.version, "v1", "its version");
	publish("two", "v2");
	is_int(rpt_term_check(term), RPT_CHANGED, "check sees the changed word");
	ok(rpt_term_get(term, &value) == 0 && holds(&value, "two") && value.serial == 2,
	   "get maps the new snapshot");
	is_str(value.version, "v2", "its version");

	start_of_second();
	ok(gives(term, "two"), "the name was checked in this second");
	move_name("three", "v3");
	for (int i = 0; i < 1000; i++) {
		if (!gives(term, "two"))
			ok(false, "the name is not checked while the word stays");
	}
	is_int(rpt_term_check(term), RPT_UNCHANGED, "check does not look at it either");
	start_of_second();
	ok(gives(term, "three"), "the name is checked in the next second");
	follow_name(SLOT);
	ok(rpt_term_get(term, &value) == 0 && value.serial == 3,
	   "the word follows, the value stays");
	rpt_term_close(term);
}

static void test_versions(void)
{
	char version[1001];
	struct rpt_value value;

	memset(version, 'v', 1000);
	version[1000] = '\0';
	publish("x", version);
	struct rpt_term *term = open_term(TERM);
	ok(rpt_term_get(term, &value) == 0, "get succeeds");
	is_str(value.version, version, "a long version");
	publish("y", "");
	ok(rpt_term_get(term, &value) == 0, "get succeeds");
	is_str(value.version, "", "an empty version");
	rpt_term_close(term);
}

static void test_hidden(void)
{
	publish("shown", "1");
	struct rpt_term *term = open_term(TERM);
	struct rpt_value value;

	ok(rpt_term_get(term, &value) == 0, "the term exists");
	start_of_second();
	unlink(TERM);
	raise_word_only(SLOT);
	for (int i = 0; i < 3; i++)
		is_int(get_error(term), -ENOENT, "the term is hidden");
	move_name("there", "2");
	is_int(get_error(term), -ENOENT, "the name is not checked while the word stays");
	start_of_second();
	ok(gives(term, "there"), "the name is checked in the next second");
	ok(rpt_term_get(term, &value) == 0, "a value");
	unlink(TERM);
	raise_word_only(SLOT);
	is_int(get_error(term), -ENOENT, "the term is hidden again");
	is_int(rpt_term_check(term), -ENOENT, "check fails as well");
	ok(holds(&value, "there"), "the last value is still readable");
	publish("again", "3");
	ok(gives(term, "again"), "the term is back at once");
	rpt_term_close(term);
}

static void test_older(void)
{
	stage(PLACE "/dir/older", "old", "1", SLOT);
	publish("new", "2");
	struct rpt_term *term = open_term(TERM);
	ok(rename(PLACE "/dir/older", TERM) == 0, "the name moves to an older file");
	raise_word_only(SLOT);
	ok(gives(term, "new"), "an older file is not mapped");
	publish("newer", "3");
	ok(gives(term, "newer"), "a newer one is");
	rpt_term_close(term);
}

static void test_slots(void)
{
	struct rpt_value value;

	publish("of one slot", "1");
	struct rpt_term *term = open_term(TERM);
	stage(STAGED, "of another", "2", 3);
	ok(rename(STAGED, TERM) == 0, "the term moves to another slot");
	follow_name(3);
	raise_word(SLOT, words[3] + 1);
	ok(gives(term, "of another"), "the new value is mapped");
	start_of_second();
	ok(rpt_term_get(term, &value) == 0, "the name is checked");
	stage(STAGED, "and again", "3", 3);
	ok(rename(STAGED, TERM) == 0, "an update in the new slot");
	follow_name(3);
	ok(gives(term, "and again"), "the new slot is watched");

	stage(STAGED, "of none", "4", SIZE / 8);
	ok(rename(STAGED, TERM) == 0, "a slot beyond the end of the words");
	raise_word(3, words[3] + 1);
	ok(gives(term, "of none"), "the new value is mapped");
	stage(STAGED, "by stat", "5", SIZE / 8);
	ok(rename(STAGED, TERM) == 0 && gives(term, "by stat"), "the name is checked at each get");
	rpt_term_close(term);
}

static void test_orderly_end(void)
{
	struct rpt_value before, value;

	publish("the last", "1");
	struct rpt_term *term = open_term(TERM);
	ok(rpt_term_get(term, &before) == 0, "a value");
	__atomic_store_n(&words[0], UINT64_MAX, __ATOMIC_RELEASE);
	ok(is_detached(term, "the last"), "the next get notices the end");
	ok(truncate(TERM, 0) == 0, "the mount loses the bytes");
	unmount_fake();
	ok(is_detached(term, "the last"), "the value stays");
	is_int(rpt_term_check(term), RPT_DETACHED, "check returns DETACHED");
	ok(rpt_term_get(term, &value) == 0 && value.data == before.data &&
		   value.serial == before.serial,
	   "it has the same address and serial");
	struct rpt_term *other = NULL;
	is_int(rpt_term_open(&other, TERM), -ENOENT, "a new handle cannot be opened");

	ok(mount_fake(), "mounted again");
	is_int(get_error(term), -ENOENT, "the new mount does not have the term");
	is_int(rpt_term_check(term), -ENOENT, "check fails as well");
	publish("the first", "1");
	ok(rpt_term_get(term, &value) == 0 && holds(&value, "the first") && !value.detached &&
		   value.serial == before.serial + 1,
	   "now it does, and the handle is attached");
	publish("the second", "2");
	ok(gives(term, "the second"), "the words of the new mount are watched");
	rpt_term_close(term);
}

static void test_replaced_mount(void)
{
	publish("below", "1");
	struct rpt_term *term = open_term(TERM);
	ok(gives(term, "below"), "a value");
	ino_t id = inode_of(TERM);
	munmap(words, SIZE);
	ok(mount_fake(), "a second mount covers the first, which did not end");
	publish_as(id, "above", "1");
	is_int(inode_of(TERM), id, "the inode number is the same");
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	ok(comes_to_give(term, "above"), "the second mount is noticed");
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok(end.tv_sec - start.tv_sec <= 2, "within a second");
	publish("watched", "2");
	ok(gives(term, "watched"), "its words are watched");
	munmap(words, SIZE);
	ok(mount_fake(), "a third one, without the term");
	for (int i = 0; i < 300 && get_error(term) != -ENOENT; i++)
		usleep(10000);
	is_int(get_error(term), -ENOENT, "the third mount is noticed");
	publish("of the third", "1");
	ok(gives(term, "of the third"), "the next get finds the term on it");
	unmount_fake();
	ok(comes_to_give(term, "watched"), "the second mount is back");
	ok(umount2(PLACE, MNT_DETACH) == 0, "the second mount is removed");
	ok(comes_to_give(term, "below"), "the first mount is back");
	ok(umount2(PLACE, MNT_DETACH) == 0, "the first mount is removed");
	for (int i = 0; i < 300 && !is_detached(term, "below"); i++)
		usleep(10000);
	ok(is_detached(term, "below"), "the handle is detached");
	rpt_term_close(term);
	ok(mount_fake(), "mounted for the next test");
}

static void test_lost_bytes(void)
{
	publish("to be lost", "1");
	struct rpt_term *term = open_term(TERM);
	ok(truncate(TERM, 0) == 0, "the mount loses the bytes");
	__atomic_store_n(&words[0], UINT64_MAX, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++)
		is_int(get_error(term), -ENOTCONN, "the last value is lost with the mount");
	unmount_fake();
	is_int(get_error(term), -ENOTCONN, "the error stays");
	is_int(rpt_term_check(term), -ENOTCONN, "check fails as well");
	ok(mount_fake(), "mounted again");
	publish("found", "2");
	ok(gives(term, "found"), "the handle recovers");
	rpt_term_close(term);
}

/* Memory that the process has locked, in KiB. */
static long locked_kib(void)
{
	char line[200];
	long kib = -1;
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "VmLck:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	}
	if (file)
		fclose(file);
	return kib;
}

#define LARGE ((2L << 20) + 17)

/* The offset of the first wrong byte, or -1. */
static long wrong_at(const struct rpt_value *value)
{
	const char *data = value->data;

	for (long i = 0; i < LARGE; i++) {
		if ((size_t)i >= value->size || data[i] != 'a' + i % 23)
			return i;
	}
	return value->size == LARGE ? -1 : LARGE;
}

static bool keeps_by_lock(struct rpt_term *term)
{
	struct rpt_value value;
	long before = locked_kib();

	__atomic_store_n(&words[0], UINT64_MAX, __ATOMIC_RELEASE);
	bool good = rpt_term_get(term, &value) == 0 && value.detached && wrong_at(&value) < 0;
	return good && locked_kib() > before + (1 << 10);
}

/* Drops the rights to lock memory and to write files first. */
static bool keeps_by_copy(struct rpt_term *term)
{
	struct rlimit none = { 0, 0 };
	struct rpt_value value;
	int fd = open(TERM, O_RDWR | O_CLOEXEC);

	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setrlimit(RLIMIT_FSIZE, &none) < 0 ||
	    setresuid(65534, 65534, 65534) < 0)
		return false;
	int fds = count_entries("/proc/self/fd");
	__atomic_store_n(&words[0], UINT64_MAX, __ATOMIC_RELEASE);
	if (rpt_term_get(term, &value) < 0 || !value.detached || ftruncate(fd, 0) < 0)
		return false;
	return wrong_at(&value) < 0 && count_entries("/proc/self/fd") == fds;
}

static void test_large(bool (*keeps)(struct rpt_term *term), const char *what)
{
	char *text = malloc(LARGE + 1);
	int status = -1;

	for (long i = 0; i < LARGE; i++)
		text[i] = (char)('a' + i % 23);
	text[LARGE] = '\0';
	publish(text, "1");
	free(text);
	struct rpt_term *term = open_term(TERM);
	pid_t child = fork();
	if (child == 0) {
		bool good = keeps(term);
		rpt_term_close(term);
		_exit(good ? 0 : 1);
	}
	rpt_term_close(term);
	waitpid(child, &status, 0);
	is_int(status, 0, "%s", what);
	unmount_fake();
	ok(mount_fake(), "mounted for the next test");
}

static void test_bind_mounts(void)
{
	mkdir("part", 0755);
	publish("1", "1");
	ok(mount(PLACE "/dir", "part", NULL, MS_BIND, NULL) == 0,
	   "one directory is bind-mounted elsewhere");
	struct rpt_term *part = open_term("part/t");
	move_name("2", "2");
	ok(gives(part, "2"), "without words each get checks the name");
	ok(umount2("part", MNT_DETACH) == 0, "the bind mount is removed");
	is_int(get_error(part), -ENOENT, "the file is gone");
	rpt_term_close(part);

	ok(mount(PLACE, "part", NULL, MS_BIND, NULL) == 0,
	   "the whole mount is bind-mounted elsewhere");
	part = open_term("part/dir/t");
	start_of_second();
	ok(gives(part, "2"), "the value is the same");
	publish("3", "3");
	ok(gives(part, "3"), "its words are watched");
	ok(umount2("part", MNT_DETACH) == 0, "the bind mount is removed");
	start_of_second();
	ok(is_detached(part, "3"), "the handle is detached");
	rpt_term_close(part);
}

int main(void)
{
	if (mkdir(PLACE, 0755) < 0) {
		ok(false, "%s: %s", PLACE, strerror(errno));
		return tap_done();
	}
	if (!own_namespace_enter()) {
		ok(errno == EINVAL, "skipped: no private mounts: %s", strerror(errno));
		rmdir(PLACE);
		return tap_done();
	}
	if (!mount_fake()) {
		ok(false, "a tmpfs of its own: %s", strerror(errno));
		return tap_done();
	}
	publish("x", "1");
	if (getxattr(TERM, "user.rpt.slot", NULL, 0) < 0) {
		ok(true, "skipped: tmpfs has no user attributes before Linux 6.6");
		return tap_done();
	}
	int fds = count_entries("/proc/self/fd"), maps = count_entries("/proc/self/map_files");
	test_words();
	test_versions();
	test_hidden();
	test_older();
	test_slots();
	test_orderly_end();
	test_replaced_mount();
	test_lost_bytes();
	test_large(keeps_by_lock, "a large value is locked in memory when the mount ends");
	test_large(keeps_by_copy, "it is copied if locking is not allowed");
	test_bind_mounts();
	is_int(count_entries("/proc/self/fd"), fds, "no descriptor is left");
	is_int(count_entries("/proc/self/map_files"), maps, "no mapping is left");
	return tap_done();
}
