/*
 * micro: what one operation on a file costs, here and there.
 *
 *	micro OPERATION ROUNDS FILE…
 *
 * Measures an operation on the files in turn, ROUNDS times, so that all see the same weather, and
 * prints a line for each round: for each file, the nanoseconds of one operation. What is slow is
 * repeated less often, for a quarter of a second at most. Each measurement begins with a short one
 * that does not count and makes the file warm. "cold" drops the page cache instead: it needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define BUF_BYTES (1U << 20)
#define PAGE	  4096
#define LIMIT_NS  250e6

static unsigned char buf[BUF_BYTES];
static volatile unsigned char seen;

static void die(const char *what)
{
	fprintf(stderr, "micro: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_or_die(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static void do_open(const char *path, int fd, uint64_t size)
{
	(void)fd;
	(void)size;
	int opened = open_or_die(path);
	if (read(opened, buf, PAGE) < 0)
		die("read");
	close(opened);
}

static void do_stat(const char *path, int fd, uint64_t size)
{
	struct stat st;

	(void)fd;
	(void)size;
	if (stat(path, &st) < 0)
		die("stat");
}

static void do_pread(const char *path, int fd, uint64_t size)
{
	static uint64_t place;

	(void)path;
	place = (place + 257 * PAGE) % (size >= PAGE ? size - PAGE + 1 : 1);
	if (pread(fd, buf, PAGE, (off_t)place) < 0)
		die("pread");
}

static void do_mmap(const char *path, int fd, uint64_t size)
{
	size_t len = size < BUF_BYTES ? size : BUF_BYTES;
	unsigned char *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

	(void)path;
	if (map == MAP_FAILED)
		die("mmap");
	for (size_t at = 0; at < len; at += PAGE)
		seen = map[at];
	munmap(map, len);
}

static void do_getxattr(const char *path, int fd, uint64_t size)
{
	(void)fd;
	(void)size;
	if (getxattr(path, "user.rpt.version", buf, sizeof(buf)) < 0)
		die("getxattr");
}

static void do_whole(const char *path, int fd, uint64_t size)
{
	(void)path;
	for (uint64_t at = 0; at < size;) {
		ssize_t got = pread(fd, buf, BUF_BYTES, (off_t)at);
		if (got <= 0)
			die("pread");
		at += (uint64_t)got;
	}
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		die("/proc/sys/vm/drop_caches");
	close(fd);
}

struct operation {
	const char *name;
	void (*run)(const char *path, int fd, uint64_t size);
	unsigned iterations; /* a round */
	bool cold;
};

static const struct operation operations[] = {
	{ "open", do_open, 20000, false },
	{ "stat", do_stat, 50000, false },
	{ "pread", do_pread, 50000, false },
	{ "mmap", do_mmap, 500, false },
	{ "getxattr", do_getxattr, 2000, false },
	{ "warm", do_whole, 1, false },
	{ "cold", do_whole, 1, true },
};

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Up to so many times; the clock is looked at only now and then. */
static double repeat(const struct operation *operation, unsigned iterations, const char *path,
		     int fd, uint64_t size)
{
	unsigned step = iterations / 256 + 1, done = 0;
	double start = now_ns(), took = 0;

	while (done < iterations && took < LIMIT_NS) {
		for (unsigned i = 0; i < step && done < iterations; i++, done++)
			operation->run(path, fd, size);
		took = now_ns() - start;
	}
	return took / done;
}

static double measure(const struct operation *operation, const char *path)
{
	struct stat st;
	int fd = open_or_die(path);

	if (fstat(fd, &st) < 0)
		die(path);
	if (operation->cold)
		drop_caches();
	else
		repeat(operation, operation->iterations / 64 + 1, path, fd, (uint64_t)st.st_size);
	double took = repeat(operation, operation->iterations, path, fd, (uint64_t)st.st_size);
	close(fd);
	return took;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc >= 4 && i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (strcmp(operations[i].name, argv[1]) != 0)
			continue;
		for (int round = 0; round < atoi(argv[2]); round++) {
			for (int file = 3; file < argc; file++)
				printf("%.1f%c", measure(&operations[i], argv[file]),
				       file + 1 < argc ? ' ' : '\n');
			fflush(stdout);
		}
		return 0;
	}
	fputs("usage: micro open|stat|pread|mmap|getxattr|warm|cold ROUNDS FILE...\n", stderr);
	return 2;
}
