/*
 * micro: what one operation on a file costs, here and there.
 *
 *	micro OPERATION ROUNDS NATIVE OTHER
 *
 * Measures an operation on the files NATIVE and OTHER in turn, ROUNDS times, so that both see the
 * same weather, and prints a line "NATIVE_NS OTHER_NS" for each round: nanoseconds for one
 * operation. "cold" operations need root, for they drop the page cache before each measurement.
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

static double measure(const struct operation *operation, const char *path)
{
	struct timespec start, end;
	struct stat st;
	int fd = open_or_die(path);

	if (fstat(fd, &st) < 0)
		die(path);
	if (operation->cold)
		drop_caches();
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned i = 0; i < operation->iterations; i++)
		operation->run(path, fd, (uint64_t)st.st_size);
	clock_gettime(CLOCK_MONOTONIC, &end);
	close(fd);
	return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
	       operation->iterations;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 5 && i < sizeof(operations) / sizeof(operations[0]); i++) {
		const struct operation *operation = &operations[i];
		if (strcmp(operation->name, argv[1]) != 0)
			continue;
		if (!operation->cold) { /* the first time warms both */
			measure(operation, argv[3]);
			measure(operation, argv[4]);
		}
		for (int round = 0; round < atoi(argv[2]); round++) {
			double native = measure(operation, argv[3]);
			printf("%.1f %.1f\n", native, measure(operation, argv[4]));
		}
		return 0;
	}
	fputs("usage: micro open|stat|pread|mmap|getxattr|warm|cold ROUNDS NATIVE OTHER\n", stderr);
	return 2;
}
