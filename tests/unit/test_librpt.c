/* librpt on a file system other than rptfs. */
#include <sys/wait.h>

#include "librpt_fixture.h"

static void is_refused(const char *path, int error, const char *what)
{
	struct rpt_term *term = (void *)&term;
	int r = rpt_term_open(&term, path);

	is_int(r, error, "%s: %s", what, strerror(-error));
	ok(term == (void *)&term, "the handle is untouched");
}

static void test_open_errors(void)
{
	char *path = calloc(1, 5000);

	write_file("file", "x");
	is_refused("missing", -ENOENT, "a missing file");
	is_refused("", -ENOENT, "an empty path");
	is_refused("file/below", -ENOTDIR, "below a file");
	is_refused(".", -EISDIR, "a directory");
	is_refused("/dev/null", -EINVAL, "a device");
	ok(mkfifo("fifo", 0600) == 0, "a FIFO is created");
	is_refused("fifo", -EINVAL, "a FIFO, without waiting for a writer");
	ok(symlink("loop", "loop") == 0, "a symlink loop is created");
	is_refused("loop", -ELOOP, "a symlink loop");
	memset(path, 'a', 300);
	is_refused(path, -ENAMETOOLONG, "a long component");
	memset(path, '/', 4998);
	is_refused(path, -ENAMETOOLONG, "a long path");
	free(path);
	rpt_term_close(NULL);
}

static void test_replaced(void)
{
	struct rpt_value first, value;

	write_file("t", "first");
	struct rpt_term *term = open_term("t");
	ok(rpt_term_get(term, &first) == 0 && holds(&first, "first"), "the first value");
	is_int(first.serial, 1, "its serial is 1");
	is_int(first.detached, 0, "it is not detached");
	ok(strncmp(first.version, "5-", 2) == 0, "the version begins with the size");
	ok(rpt_term_get(term, &value) == 0 && memcmp(&value, &first, sizeof(value)) == 0,
	   "the next get returns the same value");
	is_int(rpt_term_check(term), RPT_UNCHANGED, "check returns UNCHANGED");

	replace_file("t", "the second");
	is_int(rpt_term_check(term), RPT_CHANGED, "check returns CHANGED after a rename");
	ok(holds(&first, "first"), "check leaves the old value valid");
	ok(rpt_term_get(term, &value) == 0 && holds(&value, "the second"), "get maps the new file");
	is_int(value.serial, 2, "its serial is 2");
	ok(strncmp(value.version, "10-", 3) == 0, "the version changed");
	for (int i = 0; i < 200; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%d", i);
		replace_file("t", text);
		if (!gives(term, text))
			ok(false, "update %d", i);
	}
	ok(rpt_term_get(term, &value) == 0 && value.serial == 202,
	   "each update added 1 to the serial");
	rpt_term_close(term);
}

static void test_removed(void)
{
	struct rpt_value value, other = { 0 };

	write_file("t", "here");
	struct rpt_term *term = open_term("t");
	ok(rpt_term_get(term, &value) == 0, "the file exists");
	unlink("t");
	for (int i = 0; i < 3; i++)
		is_int(get_error(term), -ENOENT, "get fails after the removal");
	is_int(rpt_term_check(term), -ENOENT, "check fails as well");
	ok(holds(&value, "here"), "the last value is still readable");
	write_file("t", "again");
	ok(rpt_term_get(term, &other) == 0 && holds(&other, "again") && other.serial == 2,
	   "the file is back");
	unlink("t");
	mkdir("t", 0755);
	is_int(get_error(term), -EISDIR, "a directory in its place is an error");
	ok(holds(&other, "again"), "the last value stays readable");
	rmdir("t");
	rpt_term_close(term);
}

static void test_sizes(void)
{
	struct rpt_value value;
	size_t size = 3 * 4096 + 17;
	char *text = malloc(size + 1);

	write_file("t", "");
	struct rpt_term *term = open_term("t");
	ok(rpt_term_get(term, &value) == 0 && value.data && value.size == 0, "an empty file");
	ok(rpt_term_get(term, &value) == 0 && value.serial == 1, "the same value at the next get");
	memset(text, 'x', size);
	text[size] = '\0';
	write_file("t", text);
	ok(gives(term, text), "the file grew in place");
	write_file("t", "short");
	ok(gives(term, "short"), "the file was truncated");
	replace_file("t", "");
	ok(gives(term, ""), "the file is empty again");
	rpt_term_close(term);
	free(text);
}

static void test_paths(void)
{
	char component[201], *here = getcwd(NULL, 0);

	mkdir("d", 0755);
	write_file("t", "t");
	write_file("u", "u");
	struct rpt_term *term = open_term("t");
	ok(chdir("d") == 0 && gives(term, "t"), "a relative path is resolved at open");
	ok(symlink("../t", "link") == 0, "a symlink is created");
	struct rpt_term *linked = open_term("link");
	ok(gives(linked, "t"), "symlinks are followed");
	ok(unlink("link") == 0 && symlink("../u", "link") == 0, "the symlink is changed");
	ok(gives(linked, "u"), "the handle follows it");
	rpt_term_close(term);
	rpt_term_close(linked);

	memset(component, 'n', 200);
	component[200] = '\0';
	for (int i = 0; i < 18; i++) {
		if (mkdir(component, 0755) < 0 || chdir(component) < 0)
			ok(false, "directory %d: %s", i, strerror(errno));
	}
	write_file("t", "deep");
	term = open_term("t");
	ok(gives(term, "deep"), "a path of more than 3600 bytes");
	rpt_term_close(term);
	ok(chdir(here) == 0, "the working directory is restored");
	free(here);
}

static void test_resources(void)
{
	int fds = count_entries("/proc/self/fd"), status = -1;

	write_file("t", "parent's");
	struct rpt_term *term = open_term("t");
	is_int(count_entries("/proc/self/fd"), fds, "a handle holds no descriptor");
	pid_t child = fork();
	if (child == 0) {
		int good = gives(term, "parent's");
		replace_file("t", "child's");
		good = good && gives(term, "child's");
		rpt_term_close(term);
		_exit(good ? 0 : 1);
	}
	waitpid(child, &status, 0);
	is_int(status, 0, "a child can use the handle after fork()");
	ok(gives(term, "child's"), "the parent sees the update, too");
	rpt_term_close(term);
	is_int(count_entries("/proc/self/fd"), fds, "no descriptor is left");
}

int main(void)
{
	test_open_errors();
	test_replaced();
	test_removed();
	test_sizes();
	test_paths();
	test_resources();
	return tap_done();
}
