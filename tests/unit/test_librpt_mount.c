/*
 * librpt on a mount of rptfs, or what it takes for one: a tmpfs with the words in place, which
 * change when the test says so.
 */
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#include "librpt_fixture.h"

#define SIZE   (8L << 20)
#define SLOT   600 /* on a page that word 0 is not on */
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

/* The name moves; the word does not yet. */
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

/* Under that id, which this mount has not come to yet. */
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

/* An id that is nobody's. */
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
	ok(rpt_term_get(term, &value) == 0 && holds(&value, "one"), "the first");
	is_str(value.version, "v1", "its version");
	publish("two", "v2");
	is_int(rpt_term_check(term), RPT_CHANGED, "a word has changed");
	ok(rpt_term_get(term, &value) == 0 && holds(&value, "two") && value.serial == 2, "seen");
	is_str(value.version, "v2", "its version");

	start_of_second();
	ok(gives(term, "two"), "looked at in this second");
	move_name("three", "v3");
	for (int i = 0; i < 1000; i++) {
		if (!gives(term, "two"))
			ok(false, "the name is not looked at while the word stays");
	}
	is_int(rpt_term_check(term), RPT_UNCHANGED, "nor by check");
	start_of_second();
	ok(gives(term, "three"), "but in the next second");
	follow_name(SLOT);
	ok(rpt_term_get(term, &value) == 0 && value.serial == 3, "the word follows: nothing new");
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
	ok(rpt_term_get(term, &value) == 0, "a get");
	is_str(value.version, version, "a long version");
	publish("y", "");
	ok(rpt_term_get(term, &value) == 0, "a get");
	is_str(value.version, "", "an empty version");
	rpt_term_close(term);
}

static void test_hidden(void)
{
	publish("shown", "1");
	struct rpt_term *term = open_term(TERM);
	struct rpt_value value;

	ok(rpt_term_get(term, &value) == 0, "shown");
	start_of_second();
	unlink(TERM);
	raise_word_only(SLOT);
	for (int i = 0; i < 3; i++)
		is_int(get_error(term), -ENOENT, "hidden");
	move_name("there", "2");
	is_int(get_error(term), -ENOENT, "which is not looked at while the word stays");
	start_of_second();
	ok(gives(term, "there"), "but in the next second");
	ok(rpt_term_get(term, &value) == 0, "a value");
	unlink(TERM);
	raise_word_only(SLOT);
	is_int(get_error(term), -ENOENT, "hidden once more");
	is_int(rpt_term_check(term), -ENOENT, "check says so");
	ok(holds(&value, "there"), "what was held is still there");
	publish("again", "3");
	ok(gives(term, "again"), "back at once");
	rpt_term_close(term);
}

static void test_older(void)
{
	stage(PLACE "/dir/older", "old", "1", SLOT);
	publish("new", "2");
	struct rpt_term *term = open_term(TERM);
	ok(rename(PLACE "/dir/older", TERM) == 0, "a name that goes back");
	raise_word_only(SLOT);
	ok(gives(term, "new"), "is not followed");
	publish("newer", "3");
	ok(gives(term, "newer"), "forward it is");
	rpt_term_close(term);
}

static void test_slots(void)
{
	struct rpt_value value;

	publish("of one slot", "1");
	struct rpt_term *term = open_term(TERM);
	stage(STAGED, "of another", "2", 3);
	ok(rename(STAGED, TERM) == 0, "the term has another slot");
	follow_name(3);
	raise_word(SLOT, words[3] + 1);
	ok(gives(term, "of another"), "it is read");
	start_of_second();
	ok(rpt_term_get(term, &value) == 0, "a look");
	stage(STAGED, "and again", "3", 3);
	ok(rename(STAGED, TERM) == 0, "an update");
	follow_name(3);
	ok(gives(term, "and again"), "and that slot is watched");

	stage(STAGED, "of none", "4", SIZE / 8);
	ok(rename(STAGED, TERM) == 0, "a slot behind the end");
	raise_word(3, words[3] + 1);
	ok(gives(term, "of none"), "it is read");
	stage(STAGED, "by stat", "5", SIZE / 8);
	ok(rename(STAGED, TERM) == 0 && gives(term, "by stat"), "and looked at each time");
	rpt_term_close(term);
}

static void test_orderly_end(void)
{
	struct rpt_value before, value;

	publish("the last", "1");
	struct rpt_term *term = open_term(TERM);
	ok(rpt_term_get(term, &before) == 0, "a value");
	__atomic_store_n(&words[0], UINT64_MAX, __ATOMIC_RELEASE);
	ok(is_detached(term, "the last"), "the end is seen by the next get");
	ok(truncate(TERM, 0) == 0, "the mount has the bytes no more");
	unmount_fake();
	ok(is_detached(term, "the last"), "the value stays");
	is_int(rpt_term_check(term), RPT_DETACHED, "check says so");
	ok(rpt_term_get(term, &value) == 0 && value.data == before.data &&
		   value.serial == before.serial,
	   "at its place");
	struct rpt_term *other = NULL;
	is_int(rpt_term_open(&other, TERM), -ENOENT, "who comes now finds nothing");

	ok(mount_fake(), "mounted again");
	is_int(get_error(term), -ENOENT, "a mount that has no such term");
	is_int(rpt_term_check(term), -ENOENT, "check says so");
	publish("the first", "1");
	ok(rpt_term_get(term, &value) == 0 && holds(&value, "the first") && !value.detached &&
		   value.serial == before.serial + 1,
	   "and one that has");
	publish("the second", "2");
	ok(gives(term, "the second"), "whose words are watched");
	rpt_term_close(term);
}

static void test_replaced_mount(void)
{
	publish("below", "1");
	struct rpt_term *term = open_term(TERM);
	ok(gives(term, "below"), "a value");
	ino_t id = inode_of(TERM);
	munmap(words, SIZE);
	ok(mount_fake(), "another mount over it, and nobody has said that the first is over");
	publish_as(id, "above", "1");
	is_int(inode_of(TERM), id, "the same id");
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	ok(comes_to_give(term, "above"), "is seen");
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok(end.tv_sec - start.tv_sec <= 2, "in a second");
	publish("watched", "2");
	ok(gives(term, "watched"), "and watched");
	munmap(words, SIZE);
	ok(mount_fake(), "a third one, without the term");
	for (int i = 0; i < 300 && get_error(term) != -ENOENT; i++)
		usleep(10000);
	is_int(get_error(term), -ENOENT, "is seen as well");
	publish("of the third", "1");
	ok(gives(term, "of the third"), "and what it has, by the next get");
	unmount_fake();
	ok(comes_to_give(term, "watched"), "the second one is back");
	ok(umount2(PLACE, MNT_DETACH) == 0, "and gone");
	ok(comes_to_give(term, "below"), "the first one is back");
	ok(umount2(PLACE, MNT_DETACH) == 0, "gone too");
	for (int i = 0; i < 300 && !is_detached(term, "below"); i++)
		usleep(10000);
	ok(is_detached(term, "below"), "which is seen");
	rpt_term_close(term);
	ok(mount_fake(), "for the next test");
}

static void test_lost_bytes(void)
{
	publish("to be lost", "1");
	struct rpt_term *term = open_term(TERM);
	ok(truncate(TERM, 0) == 0, "bytes that cannot be had any more");
	__atomic_store_n(&words[0], UINT64_MAX, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++)
		is_int(get_error(term), -ENOTCONN, "the mount went with them");
	unmount_fake();
	is_int(get_error(term), -ENOTCONN, "and still");
	is_int(rpt_term_check(term), -ENOTCONN, "check says so");
	ok(mount_fake(), "mounted again");
	publish("found", "2");
	ok(gives(term, "found"), "all is well");
	rpt_term_close(term);
}

/* What the process has locked, in KiB. */
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

/* The first byte that is wrong, or -1. */
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

/* As somebody who may neither lock memory nor write files. */
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
	   "one directory is mounted elsewhere");
	struct rpt_term *part = open_term("part/t");
	move_name("2", "2");
	ok(gives(part, "2"), "without words each get looks");
	ok(umount2("part", MNT_DETACH) == 0, "unmounted");
	is_int(get_error(part), -ENOENT, "and gone");
	rpt_term_close(part);

	ok(mount(PLACE, "part", NULL, MS_BIND, NULL) == 0, "all of it is mounted elsewhere");
	part = open_term("part/dir/t");
	start_of_second();
	ok(gives(part, "2"), "the same");
	publish("3", "3");
	ok(gives(part, "3"), "its words are watched");
	ok(umount2("part", MNT_DETACH) == 0, "unmounted");
	start_of_second();
	ok(is_detached(part, "3"), "and detached");
	rpt_term_close(part);
}

int main(void)
{
	if (mkdir(PLACE, 0755) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || !mount_fake()) {
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
	test_large(keeps_by_lock, "many bytes are locked in memory when the mount goes");
	test_large(keeps_by_copy, "and copied, where that is not allowed");
	test_bind_mounts();
	is_int(count_entries("/proc/self/fd"), fds, "no descriptor is left");
	is_int(count_entries("/proc/self/map_files"), maps, "no mapping is left");
	return tap_done();
}
