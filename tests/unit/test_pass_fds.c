/* pass_fds: descriptors arrive, close-on-exec, all of them or none. */
#include "base/pass_fds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "tap.h"

static int sockets[2];

static size_t count_open(void)
{
	DIR *list = opendir("/proc/self/fd");
	size_t n = 0;

	while (list && readdir(list))
		n++;
	closedir(list);
	return n;
}

static bool is_same_file(int a, int b)
{
	struct stat first, second;

	return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
	       first.st_ino == second.st_ino;
}

/* Sends n descriptors, all of the same file. */
static void send_copies(int fd, size_t n)
{
	int fds[PASS_FDS_MAX];

	for (size_t i = 0; i < n; i++)
		fds[i] = fd;
	if (pass_fds_send(sockets[0], "hello", 6, fds, n, 0) != 6)
		abort();
}

static void test_pair(void)
{
	ok(fcntl(sockets[0], F_GETFD) & FD_CLOEXEC, "the sockets are close-on-exec");
	ok(fcntl(sockets[1], F_GETFD) & FD_CLOEXEC, "both of them");
}

static void test_passing(int file)
{
	for (size_t n = 0; n <= PASS_FDS_MAX; n++) {
		int fds[PASS_FDS_MAX];
		char text[16];
		bool all = true;

		size_t before = count_open();
		send_copies(file, n);
		is_int(pass_fds_receive(sockets[1], text, sizeof(text), fds, PASS_FDS_MAX, 0), 6,
		       "a message with %zu descriptors arrives", n);
		is_str(text, "hello", "with its text");
		is_int(count_open(), before + n, "and no others");
		for (size_t i = 0; i < PASS_FDS_MAX; i++) {
			all = all && (i < n ? is_same_file(fds[i], file) &&
						      (fcntl(fds[i], F_GETFD) & FD_CLOEXEC)
					    : fds[i] == -1);
			close_cleanup(&fds[i]);
		}
		ok(all, "they are the right ones and close-on-exec, the rest is -1");
	}
}

/* Whatever the number of descriptors that are expected: padding after an odd number of them must
 * not make room for one more. */
static void test_too_many(int file)
{
	for (size_t expected = 1; expected < PASS_FDS_MAX; expected++) {
		int fds[PASS_FDS_MAX];
		char text[16];
		bool none = true;

		size_t before = count_open();
		send_copies(file, expected + 1);
		is_int(pass_fds_receive(sockets[1], text, sizeof(text), fds, expected, 0), 6,
		       "a message with more than %zu descriptors arrives", expected);
		for (size_t i = 0; i < expected; i++)
			none = none && fds[i] == -1;
		ok(none, "without any");
		is_int(count_open(), before, "and none stays open");
	}
}

/* This process may open one more descriptor, but two arrive. */
static void test_limit(int file)
{
	struct rlimit old, low;
	int fds[2];
	char text[16];

	_cleanup_close_ int next = dup(file);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)next + 2;
	size_t before = count_open();
	send_copies(file, 2);
	setrlimit(RLIMIT_NOFILE, &low);
	ssize_t len = pass_fds_receive(sockets[1], text, sizeof(text), fds, 2, 0);
	setrlimit(RLIMIT_NOFILE, &old);
	is_int(len, 6, "at the limit of descriptors the message arrives");
	ok(fds[0] == -1 && fds[1] == -1, "without descriptors");
	is_int(count_open(), before, "and none stays open");
}

static void test_absent(int file)
{
	const int sent[] = { file, -1 };
	int fds[2];
	char text[16];

	is_int(pass_fds_send(sockets[0], "x", 1, sent, 2, 0), 1,
	       "a list that ends with -1 is sent");
	is_int(pass_fds_receive(sockets[1], text, sizeof(text), fds, 2, 0), 1, "it arrives");
	ok(is_same_file(fds[0], file) && fds[1] == -1, "with one descriptor");
	close(fds[0]);
	errno = 0;
	ok(pass_fds_receive(sockets[1], text, sizeof(text), fds, 2, MSG_DONTWAIT) < 0 &&
		   errno == EAGAIN,
	   "flags are passed on");
}

static void test_end(int file)
{
	char text[16];
	int fd;

	close(sockets[0]);
	is_int(pass_fds_receive(sockets[1], text, sizeof(text), &fd, 1, 0), 0, "the end");
	is_int(fd, -1, "brings no descriptor");
	errno = 0;
	ok(pass_fds_send(sockets[1], "x", 1, &file, 1, 0) < 0 && errno == EPIPE,
	   "sending fails without a signal");
	close(sockets[1]);
}

int main(void)
{
	struct err err = ERR_INIT;
	_cleanup_close_ int file = memfd_create("passed", MFD_CLOEXEC);

	if (file < 0 || pass_fds_pair(sockets, &err) < 0)
		abort();
	test_pair();
	test_passing(file);
	test_too_many(file);
	test_limit(file);
	test_absent(file);
	test_end(file);
	return tap_done();
}
