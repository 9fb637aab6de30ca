/* files: without a helper, and with a helper played by the test. */
#include <fcntl.h>
#include <stdlib.h>

#include "base/util.h"
#include "base/files.h"
#include "base/helper.h"
#include "base/read_full.h"
#include "tap.h"

#define NOBODY 65534

static char dir[] = "/tmp/rptfs-unit-XXXXXX";
static int own; /* what the helper opens, of "closed/known" */
static unsigned n_asked;
static char asked[128];

static const char *at(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

/* ---- the helper: knows "known" and "closed/known" only ---- */

static int note(const char *path, struct err *err)
{
	n_asked++;
	snprintf(asked, sizeof(asked), "%s", path);
	if (strstr(path, "/known"))
		return 0;
	return err_set(err, ERR_DENIED, "the configuration does not name it");
}

static int open_file(struct helper *helper, const char *path, struct err *err)
{
	(void)helper;
	return note(path, err) < 0 ? -1 : fcntl(own, F_DUPFD_CLOEXEC, 0);
}

static int look(struct helper *helper, const char *path, bool follow, struct stat *ret,
		struct err *err)
{
	(void)helper;
	ret->st_size = follow ? 1 : 2;
	return note(path, err);
}

static int watch(struct helper *helper, int inotify, const char *directory, struct err *err)
{
	(void)helper, (void)inotify;
	return note(directory, err) < 0 ? -1 : 77;
}

static struct helper helper = { .open_file = open_file, .look = look, .watch = watch };

/* ---- the files ---- */

static void write_file(const char *name)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, "content", 7) != 7)
		abort();
	close(fd);
}

static void set_up(void)
{
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0 || mkdir(at("closed"), 0700) < 0 ||
	    mkdir(at("known"), 0700) < 0)
		abort();
	write_file("public");
	write_file("closed/known");
	write_file("closed/other");
	own = open(at("closed/known"), O_RDONLY | O_CLOEXEC);
	if (seteuid(NOBODY) < 0)
		abort();
}

static void clean_up(void)
{
	static const char *const names[] = { "public", "closed/known", "closed/other" };

	if (seteuid(0) < 0)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(at(names[i]));
	rmdir(at("closed"));
	rmdir(at("known"));
	rmdir(dir);
}

/* ---- the tests ---- */

static bool opens(struct helper *asker, const char *name, struct err *err)
{
	_cleanup_close_ int fd = files_open(asker, at(name), err);

	return fd >= 0;
}

static ssize_t reads(struct helper *asker, const char *name, char ret[16], struct err *err)
{
	_cleanup_close_ int fd = files_open(asker, at(name), err);

	return fd < 0 ? -1 : read_full(fd, ret, 16);
}

static void test_alone(void)
{
	char text[16] = "";
	struct err err = ERR_INIT;

	is_int(reads(NULL, "public", text, &err), 7, "a file is read: %s", err.msg);
	is_str(text, "content", "the text is that of the whole file");
	ok(!opens(NULL, "missing", &err) && err.kind == ERR_NOT_FOUND,
	   "a missing file is not found: %s", err.msg);
	ok(!opens(NULL, "public/x", &err) && err.kind == ERR_NOT_FOUND,
	   "a file is not a directory: %s", err.msg);
	ok(!opens(NULL, "closed/known", &err) && err.kind == ERR_DENIED,
	   "a file without permission is denied: %s", err.msg);
	ok(strstr(err.msg, "opening /tmp/") && strstr(err.msg, "to uid 65534"),
	   "the message names the path and the user");
	ok(!opens(NULL, "", &err) && err.kind == ERR_BAD_DATA &&
		   strstr(err.msg, "not a regular file"),
	   "a directory is refused: %s", err.msg);
}

static void test_helped(void)
{
	_cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC);
	struct err err = ERR_INIT;
	char text[16] = "";
	struct stat st;

	ok(!opens(&helper, "public", &err) && n_asked == 1,
	   "the helper is asked for any file, and decides");
	is_int(reads(&helper, "closed/known", text, &err), 7, "a file is read with the helper: %s",
	       err.msg);
	is_str(asked, at("closed/known"), "the helper is asked for that path");
	ok(!opens(&helper, "closed/other", &err) && err.kind == ERR_DENIED &&
		   strstr(err.msg, "closed/other: the configuration does not name it"),
	   "the helper refuses another file: %s", err.msg);
	is_int(files_stat(&helper, at("closed/known"), &st, &err), 0,
	       "stat works with the helper: %s", err.msg);
	is_int(st.st_size, 1, "stat follows links");
	is_int(files_lstat(&helper, at("closed/known"), &st, &err), 0,
	       "lstat works with the helper: %s", err.msg);
	is_int(st.st_size, 2, "lstat does not follow links");
	is_int(files_watch(&helper, inotify, at("known"), &err), 77, "the helper can watch: %s",
	       err.msg);
	is_int(files_watch(NULL, inotify, dir, &err), 1, "the process itself can watch: %s",
	       err.msg);
	ok(files_watch(NULL, inotify, "", &err) > 0, "the root can be watched: %s", err.msg);
	ok(files_watch(&helper, inotify, at("closed"), &err) < 0 && err.kind == ERR_DENIED,
	   "the helper refuses another directory: %s", err.msg);
}

int main(void)
{
	set_up();
	test_alone();
	test_helped();
	clean_up();
	return tap_done();
}
