/*
 * micro: the cost of one operation, compared between files.
 *
 *	micro OPERATION ROUNDS FILE…
 *
 * Measures an operation on the files in turn, ROUNDS times, so that load on the machine affects all
 * of them alike. Prints a line for each round: for each file, the nanoseconds of one operation, or
 * "nan" if it failed, which also makes the exit code 1. A measurement takes at most a quarter of a
 * second; slow operations are repeated less often. It begins with a short run that does not count
 * and warms the file up. "cold" drops the page cache instead, which needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
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

/* Operations return 0, or -1 with errno. */

static int do_open(const char *path, int fd, uint64_t size)
{
	(void)fd;
	(void)size;
	int opened = open(path, O_RDONLY | O_CLOEXEC);
	if (opened < 0)
		return -1;
	ssize_t got = read(opened, buf, PAGE);
	close(opened);
	return got < 0 ? -1 : 0;
}

static int do_stat(const char *path, int fd, uint64_t size)
{
	struct stat st;

	(void)fd;
	(void)size;
	return stat(path, &st);
}

static int do_pread(const char *path, int fd, uint64_t size)
{
	static uint64_t place;

	(void)path;
	place = (place + 257 * PAGE) % (size >= PAGE ? size - PAGE + 1 : 1);
	return pread(fd, buf, PAGE, (off_t)place) < 0 ? -1 : 0;
}

static int do_mmap(const char *path, int fd, uint64_t size)
{
	size_t len = size < BUF_BYTES ? size : BUF_BYTES;
	unsigned char *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

	(void)path;
	if (map == MAP_FAILED)
		return -1;
	for (size_t at = 0; at < len; at += PAGE)
		seen = map[at];
	return munmap(map, len);
}

static int do_getxattr(const char *path, int fd, uint64_t size)
{
	(void)fd;
	(void)size;
	return getxattr(path, "user.rpt.version", buf, sizeof(buf)) < 0 ? -1 : 0;
}

static int do_whole(const char *path, int fd, uint64_t size)
{
	(void)path;
	for (uint64_t at = 0; at < size;) {
		ssize_t got = pread(fd, buf, BUF_BYTES, (off_t)at);
		if (got <= 0)
			return -1;
		at += (uint64_t)got;
	}
	return 0;
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
	int (*run)(const char *path, int fd, uint64_t size);
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

/*
 * Runs the operation up to `iterations` times and reads the clock only now and then. Returns the
 * nanoseconds of one operation, or NAN with errno.
 */
static double repeat(const struct operation *operation, unsigned iterations, const char *path,
		     int fd, uint64_t size)
{
	unsigned step = iterations / 256 + 1, done = 0;
	double start = now_ns(), took = 0;

	while (done < iterations && took < LIMIT_NS) {
		for (unsigned i = 0; i < step && done < iterations; i++, done++) {
			if (operation->run(path, fd, size) < 0)
				return NAN;
		}
		took = now_ns() - start;
	}
	return took / done;
}

/* Returns the nanoseconds of one operation, or NAN with errno. */
static double measure(const struct operation *operation, const char *path)
{
	struct stat st;
	double took = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NAN;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return NAN;
	}
	if (operation->cold)
		drop_caches();
	else
		took = repeat(operation, operation->iterations / 64 + 1, path, fd,
			      (uint64_t)st.st_size);
	if (!isnan(took))
		took = repeat(operation, operation->iterations, path, fd, (uint64_t)st.st_size);
	close(fd);
	return took;
}

/* Returns whether every file could be measured. */
static bool run_round(const struct operation *operation, char *files[], int n)
{
	bool all = true;

	for (int i = 0; i < n; i++) {
		double took = measure(operation, files[i]);
		if (isnan(took)) {
			fprintf(stderr, "micro: %s: %s\n", files[i], strerror(errno));
			all = false;
		}
		printf("%.1f%c", took, i + 1 < n ? ' ' : '\n');
	}
	return all;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc >= 4 && i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (strcmp(operations[i].name, argv[1]) != 0)
			continue;
		bool all = true;
		for (int round = 0; round < atoi(argv[2]); round++)
			all &= run_round(&operations[i], argv + 3, argc - 3);
		return all ? 0 : 1;
	}
	fputs("usage: micro open|stat|pread|mmap|getxattr|warm|cold ROUNDS FILE...\n", stderr);
	return 2;
}
