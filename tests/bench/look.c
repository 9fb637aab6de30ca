/*
 * look: the cost of one look at a file for a process that was asleep.
 *
 *	look [OTHER]
 *
 * For each line of its input, which is the path of a file: open, fstat, read all of it, close.
 * Prints "NANOSECONDS INODE BYTES BEGINNING", the last being up to eight bytes in hexadecimal, or
 * "- ERRNO". It sleeps until it reads the next path, like a program that waits for an event. If
 * OTHER is given, it first looks at that file many times, like a program that is busy.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUSY_LOOKS 300

static unsigned char buf[4U << 20];

/* Returns the bytes read, or -1. */
static ssize_t look(const char *path, struct stat *ret_st)
{
	size_t at = 0;
	ssize_t got = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (fstat(fd, ret_st) < 0)
		got = -1;
	while (got >= 0 && at < (size_t)ret_st->st_size && at < sizeof(buf)) {
		got = read(fd, buf + at, sizeof(buf) - at);
		if (got == 0)
			break;
		at += (size_t)(got > 0 ? got : 0);
	}
	close(fd);
	return got < 0 ? -1 : (ssize_t)at;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
	char path[4096];

	memset(buf, 1, sizeof(buf)); /* fault the pages in */
	while (fgets(path, sizeof(path), stdin)) {
		struct stat st = { 0 };
		path[strcspn(path, "\n")] = '\0';
		for (int i = 0; argc > 1 && i < BUSY_LOOKS; i++)
			look(argv[1], &st);
		uint64_t start = now_ns();
		ssize_t bytes = look(path, &st);
		uint64_t took = now_ns() - start;
		if (bytes < 0) {
			printf("- %d\n", errno);
		} else {
			printf("%" PRIu64 " %" PRIu64 " %zd ", took, (uint64_t)st.st_ino, bytes);
			for (ssize_t i = 0; i < 8 && i < bytes; i++)
				printf("%02x", buf[i]);
			putchar('\n');
		}
		fflush(stdout);
	}
	return 0;
}
