/* safe_path: who may lead where, and components that are exchanged. As root, in a mount
 * namespace. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/directory.h"
#include "base/safe_path.h"
#include "base/util.h"
#include "own_namespace.h"
#include "tap.h"

#define ROOT	 0
#define STRANGER 1234
#define OTHER	 4321

static char dir[] = "/tmp/rptfs-unit-XXXXXX";

static const char *at(const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

/* ---- what there is ---- */

/* A file's content is its owner's. content: of a file, or the target of a link; NULL: a
 * directory. */
static const struct thing {
	uid_t owner;
	mode_t mode;
	const char *name, *content;
} things[] = {
	{ ROOT, 0600, "secret", "secret" },
	{ ROOT, 0644, "public", "public" },
	{ ROOT, 0755, "ours", NULL },
	{ ROOT, 0644, "ours/file", "ours" },
	{ ROOT, S_IFLNK, "ours/link", "../theirs/file" },
	{ ROOT, S_IFLNK, "ours/up", ".." },
	{ STRANGER, 0755, "theirs", NULL },
	{ STRANGER, 0600, "theirs/file", "theirs" },
	{ STRANGER, 0700, "theirs/sub", NULL },
	{ STRANGER, 0600, "theirs/sub/file", "theirs below" },
	{ ROOT, 0644, "theirs/of-root", "secret" },
	{ OTHER, 0644, "theirs/of-other", "secret" },
	{ STRANGER, S_IFLNK, "theirs/link", "file" },
	{ STRANGER, S_IFLNK, "theirs/out", "../secret" },
	{ STRANGER, S_IFLNK, "theirs/root", "/" },
	{ STRANGER, S_IFLNK, "theirs/missing", "/root/there-is-no-such-file" },
	{ STRANGER, 0755, "theirs/..v1", NULL },
	{ STRANGER, 0644, "theirs/..v1/key", "first" },
	{ STRANGER, 0755, "theirs/..v2", NULL },
	{ STRANGER, 0644, "theirs/..v2/key", "second" },
	{ STRANGER, S_IFLNK, "theirs/..data", "..v1" },
	{ STRANGER, S_IFLNK, "theirs/key", "..data/key" },
	{ STRANGER, S_IFLNK, "their-link", "secret" },
	{ STRANGER, S_IFLNK, "their-own", "theirs/file" },
	{ STRANGER, S_IFLNK, "theirs/loop", "loop" },
	{ STRANGER, 0775, "theirs/grouped", NULL },
	{ STRANGER, 0664, "theirs/grouped/file", "theirs" },
	{ ROOT, 01777, "sticky", NULL },
	{ ROOT, 0700, "sticky/ours", NULL },
	{ ROOT, 0600, "sticky/ours/file", "ours" },
	{ STRANGER, 0644, "sticky/theirs", "theirs" },
	{ ROOT, 0777, "open", NULL },
	{ ROOT, 0644, "open/file", "ours" },
	{ ROOT, 0775, "grouped", NULL },
	{ ROOT, 0644, "grouped/file", "ours" },
	{ ROOT, 0666, "writable", "ours" },
	{ ROOT, 0664, "group-writable", "ours" },
	{ ROOT, S_IFLNK, "to-writable", "writable" },
	{ ROOT, 0755, "read-only", NULL },
};

static void make_file(const char *path, const char *content)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content))
		abort();
}

static void make(const struct thing *thing)
{
	const char *path = at(thing->name);

	if (S_ISLNK(thing->mode)) {
		if (symlink(thing->content, path) < 0)
			abort();
	} else if (thing->content) {
		make_file(path, thing->content);
	} else if (mkdir(path, 0700) < 0) {
		abort();
	}
	if (lchown(path, thing->owner, thing->owner) < 0 ||
	    (!S_ISLNK(thing->mode) && chmod(path, thing->mode) < 0))
		abort();
}

static void set_up(void)
{
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(things); i++)
		make(&things[i]);
}

/* ---- reading ---- */

static struct err failure;

/* The content, or "" with the failure. */
static const char *content(const char *path, enum safe_path_rule rule)
{
	static char text[64];
	_cleanup_close_ int fd = -1;

	failure = (struct err)ERR_INIT;
	fd = safe_path_open(path, rule, &failure);
	ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[len > 0 ? len : 0] = '\0';
	return text;
}

static void test_leading(void)
{
	static const struct {
		const char *path, *content; /* NULL: refused */
	} cases[] = {
		{ "secret", "secret" },
		{ "ours/file", "ours" },
		{ "./ours//./../ours/file", "ours" },
		{ "ours/up/secret", "secret" },
		{ "theirs/file", "theirs" },
		{ "theirs/sub/../sub/file", "theirs below" },
		{ "theirs/link", "theirs" },
		{ "ours/link", "theirs" },
		{ "their-own", "theirs" },
		{ "theirs/key", "first" },
		{ "theirs/of-root", NULL },
		{ "theirs/of-other", NULL },
		{ "theirs/out", NULL },
		{ "theirs/../secret", NULL },
		{ "theirs/sub/../../secret", NULL },
		{ "theirs/root/etc/passwd", NULL },
		{ "theirs/missing", NULL },
		{ "their-link", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *got = content(at(cases[i].path), SAFE_PATH_OWN);
		if (cases[i].content)
			is_str(got, cases[i].content, "%s: %s", cases[i].path, failure.msg);
		else
			ok(!*got && failure.kind == ERR_DENIED &&
				   strstr(failure.msg, "belongs to uid 1234 and leads to"),
			   "%s is refused: %s", cases[i].path, failure.msg);
	}
	content(at("theirs/of-root"), SAFE_PATH_OWN);
	ok(strstr(failure.msg, at("theirs belongs to uid 1234")) &&
		   strstr(failure.msg, at("theirs/of-root, which belongs to root")) &&
		   strstr(failure.msg, "chown"),
	   "the message names both, their owners and the remedy");
}

/* As Kubernetes replaces a directory. */
static void test_swap(void)
{
	if (symlink("..v2", at("theirs/..data.new")) < 0 ||
	    lchown(at("theirs/..data.new"), STRANGER, STRANGER) < 0 ||
	    rename(at("theirs/..data.new"), at("theirs/..data")) < 0)
		abort();
	is_str(content(at("theirs/key"), SAFE_PATH_OWN), "second", "after the swap: %s",
	       failure.msg);
}

static void test_failures(void)
{
	static const struct {
		const char *path;
		enum err_kind kind;
	} cases[] = {
		{ "missing", ERR_NOT_FOUND },	    { "missing/file", ERR_NOT_FOUND },
		{ "secret/file", ERR_NOT_FOUND },   { "secret/", ERR_NOT_FOUND },
		{ "theirs/loop", ERR_BAD_DATA },    { "ours", ERR_BAD_DATA },
		{ "../../dev/null", ERR_BAD_DATA },
	};
	char long_name[NAME_MAX + 2];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ok(!*content(at(cases[i].path), SAFE_PATH_OWN) && failure.kind == cases[i].kind,
		   "%s: %s", cases[i].path, failure.msg);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	ok(!*content(at(long_name), SAFE_PATH_OWN) && failure.kind == ERR_BAD_DATA,
	   "a name that is too long: %s", failure.msg);
	ok(!*content("", SAFE_PATH_OWN) && failure.kind == ERR_NOT_FOUND, "no path: %s",
	   failure.msg);
}

static void test_find(void)
{
	struct stat st;
	struct err err = ERR_INIT;
	_cleanup_close_ int link = safe_path_find(at("theirs/out"), SAFE_PATH_OWN, false, &st,
						  &err);

	ok(link >= 0 && S_ISLNK(st.st_mode), "a link at the end is found, not followed: %s",
	   err.msg);
	_cleanup_close_ int root = safe_path_find("/", SAFE_PATH_OWN, true, &st, &err);
	ok(root >= 0 && S_ISDIR(st.st_mode), "the root: %s", err.msg);
	if (chdir(at("ours")) < 0)
		abort();
	is_str(content("file", SAFE_PATH_OWN), "ours", "a relative path: %s", failure.msg);
	ok(!*content("file", SAFE_PATH_OURS) && failure.kind == ERR_DENIED,
	   "whose way is not known: %s", failure.msg);
}

static void test_ours(void)
{
	static const struct {
		const char *path, *content; /* NULL: refused */
		const char *says;
	} cases[] = {
		{ "ours/file", "ours", "" },
		{ "sticky/ours/file", "ours", "" },
		{ "sticky/theirs", NULL, "sticky/theirs belongs to uid 1234" },
		{ "theirs/file", NULL, "theirs belongs to uid 1234" },
		{ "their-own", NULL, "their-own belongs to uid 1234" },
		{ "ours/link", NULL, "theirs belongs to uid 1234" },
		{ "open/file", NULL, "open may be written by everybody" },
		{ "grouped/file", NULL, "grouped may be written by its group" },
		{ "writable", NULL, "chmod go-w" },
		{ "group-writable", NULL, "chmod go-w" },
		{ "to-writable", NULL, "writable may be written by everybody" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *got = content(at(cases[i].path), SAFE_PATH_OURS);
		if (cases[i].content)
			is_str(got, cases[i].content, "ours: %s: %s", cases[i].path, failure.msg);
		else
			ok(!*got && failure.kind == ERR_DENIED &&
				   strstr(failure.msg, cases[i].says),
			   "not ours: %s: %s", cases[i].path, failure.msg);
	}
}

/* A volume of Kubernetes is writable by its mode, and mounted read-only. */
static void test_read_only(void)
{
	if (mount(at("open"), at("read-only"), NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, at("read-only"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
		abort();
	is_str(content(at("read-only/file"), SAFE_PATH_OURS), "ours",
	       "modes do not count where nobody can write: %s", failure.msg);
	umount2(at("read-only"), MNT_DETACH);
}

/* ---- of another user ---- */

static const char *content_as(uid_t user, const char *path, enum safe_path_rule rule)
{
	if (seteuid(user) < 0)
		abort();
	const char *got = content(path, rule);
	if (seteuid(0) < 0)
		abort();
	return got;
}

static void test_user(void)
{
	if (symlink("../public", at("theirs/to-public")) < 0 ||
	    lchown(at("theirs/to-public"), STRANGER, STRANGER) < 0)
		abort();
	is_str(content_as(STRANGER, at("theirs/to-public"), SAFE_PATH_OWN), "public",
	       "users lead themselves anywhere: %s", failure.msg);
	ok(!*content_as(OTHER, at("theirs/to-public"), SAFE_PATH_OWN) && failure.kind == ERR_DENIED,
	   "but not others: %s", failure.msg);
	is_str(content_as(STRANGER, at("theirs/sub/file"), SAFE_PATH_OURS), "theirs below",
	       "and their files are theirs: %s", failure.msg);
	is_str(content_as(STRANGER, at("theirs/grouped/file"), SAFE_PATH_OURS), "theirs",
	       "also those that their own group may write: %s", failure.msg);
	ok(!*content_as(OTHER, at("theirs/of-other"), SAFE_PATH_OURS) && failure.kind == ERR_DENIED,
	   "in another's directory they are not: %s", failure.msg);
}

static bool write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) > 0;
}

/* In a namespace where nobody is root of the machine. */
static int in_user_namespace(void)
{
	if (setresgid(STRANGER, STRANGER, STRANGER) < 0 ||
	    setresuid(STRANGER, STRANGER, STRANGER) < 0 || unshare(CLONE_NEWUSER) < 0 ||
	    !write_text("/proc/self/uid_map", "0 1234 1"))
		return 2;
	return strcmp(content(at("theirs/to-public"), SAFE_PATH_OWN), "public") == 0 &&
			       strcmp(content(at("theirs/sub/file"), SAFE_PATH_OURS),
				      "theirs below") == 0
		       ? 0
		       : 1;
}

static void test_user_namespace(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(in_user_namespace());
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) != 1,
	   "root of a user namespace reaches its files%s",
	   WEXITSTATUS(status) == 2 ? " # SKIP no user namespaces here" : "");
}

/* ---- exchanges ---- */

static void test_exchange(void)
{
	char text[16] = "";
	struct stat st;
	struct err err = ERR_INIT;
	_cleanup_close_ int found = safe_path_find(at("theirs/file"), SAFE_PATH_OWN, true, &st,
						   &err);

	if (renameat2(AT_FDCWD, at("theirs/file"), AT_FDCWD, at("theirs/out"), RENAME_EXCHANGE) < 0)
		abort();
	_cleanup_close_ int fd = safe_path_reopen(found, O_NONBLOCK, &err);
	ok(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "opened after the exchange: %s",
	   err.msg);
	is_str(text, "theirs", "what was checked, not what is at the name now");
	ok(!*content(at("theirs/file"), SAFE_PATH_OWN) && failure.kind == ERR_DENIED,
	   "the name leads to the secret now");
	if (renameat2(AT_FDCWD, at("theirs/file"), AT_FDCWD, at("theirs/out"), RENAME_EXCHANGE) < 0)
		abort();
}

struct exchanger {
	const char *a, *b;
	atomic_bool is_over;
};

static void *exchange(void *arg)
{
	struct exchanger *exchanger = arg;

	while (!exchanger->is_over) {
		if (renameat2(AT_FDCWD, exchanger->a, AT_FDCWD, exchanger->b, RENAME_EXCHANGE) < 0)
			abort();
		sched_yield();
	}
	return NULL;
}

#define RACES_MIN 5000

/* Opens `path`, which leads to "theirs" or to the secret, while a and b are exchanged. */
static void race(const char *a, const char *b, const char *path, const char *what)
{
	_cleanup_free_ char *from = strdup(a), *to = strdup(b), *name = strdup(path);
	struct exchanger exchanger = { .a = from, .b = to };
	unsigned n_read = 0, n_refused = 0, n_wrong = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, exchange, &exchanger) != 0)
		abort();
	while (n_read + n_refused < RACES_MIN || !n_read || !n_refused) {
		const char *got = content(name, SAFE_PATH_OWN);
		n_wrong += *got ? strcmp(got, "theirs") != 0 : failure.kind != ERR_DENIED;
		n_read += *got != '\0';
		n_refused += !*got;
	}
	exchanger.is_over = true;
	pthread_join(thread, NULL);
	is_int(n_wrong, 0, "%s: read or refused, nothing else: %s", what, failure.msg);
}

static void test_races(void)
{
	static const struct thing more[] = {
		{ STRANGER, 0755, "theirs/d", NULL },
		{ STRANGER, 0644, "theirs/d/secret", "theirs" },
		{ STRANGER, S_IFLNK, "theirs/d2", ".." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		make(&more[i]);
	race(at("theirs/file"), at("theirs/out"), at("theirs/file"),
	     "a file is exchanged for a link");
	race(at("theirs/d"), at("theirs/d2"), at("theirs/d/secret"),
	     "a directory is exchanged for a link");
}

/* ---- watching ---- */

static void test_watch(void)
{
	_cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd pfd = { .fd = inotify, .events = POLLIN };
	struct err err = ERR_INIT;

	ok(safe_path_watch(inotify, "", IN_CREATE | IN_ONLYDIR, &err) > 0, "the root: %s", err.msg);
	ok(safe_path_watch(inotify, at("theirs/root/etc"), IN_CREATE, &err) < 0 &&
		   err.kind == ERR_DENIED,
	   "a directory that a stranger leads to: %s", err.msg);
	ok(safe_path_watch(inotify, at("secret"), IN_CREATE, &err) < 0 && err.kind == ERR_NOT_FOUND,
	   "a file: %s", err.msg);
	ok(safe_path_watch(inotify, at("theirs"), IN_CREATE, &err) > 0, "theirs: %s", err.msg);
	make_file(at("theirs/new"), "");
	is_int(poll(&pfd, 1, 5000), 1, "a change in it is reported");
}

int main(void)
{
	if (!own_namespace_enter()) {
		printf("1..0 # SKIP no private mounts: %s\n", strerror(errno));
		return 0;
	}
	set_up();
	test_leading();
	test_swap();
	test_failures();
	test_find();
	test_ours();
	test_read_only();
	test_user();
	test_user_namespace();
	test_exchange();
	test_races();
	test_watch();
	directory_remove_tree(AT_FDCWD, dir);
	return tap_done();
}
