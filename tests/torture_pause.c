/*
 * torture pause: measures the longest time that opening and reading a file takes.
 *
 * One thread at a slow pace, so that it measures the file system and not its own load. Ends early
 * on SIGTERM.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES 4096
#define COMPLAINTS 5

static volatile sig_atomic_t must_end;

static void on_sigterm(int signo)
{
	(void)signo;
	must_end = 1;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_s(double seconds)
{
	struct timespec pause = { (time_t)seconds,
				  (long)((seconds - (double)(time_t)seconds) * 1e9) };

	if (seconds > 0)
		nanosleep(&pause, NULL);
}

/* Makes the content cold. The kernel keeps the name. */
static void drop_pages(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

/* Returns -1 for an error or an empty file, and prints a message for the first few. */
static int read_once(const char *path)
{
	static unsigned complaints;
	unsigned char buf[READ_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, buf, sizeof(buf));
	int failure = errno;

	if (fd >= 0)
		close(fd);
	if (got > 0)
		return 0;
	if (complaints++ < COMPLAINTS)
		fprintf(stderr, "torture: %s: %s\n", path, got < 0 ? strerror(failure) : "empty");
	return -1;
}

int torture_pause(char *const *files, size_t n_files, const struct torture_pace *pace)
{
	double end_s = now_s() + pace->seconds, longest_s = 0;
	uint64_t reads = 0, failed = 0;

	signal(SIGTERM, on_sigterm);
	while (!must_end && now_s() < end_s) {
		const char *path = files[reads % n_files];
		if (pace->is_cold)
			drop_pages(path);
		double start_s = now_s();
		failed += read_once(path) < 0;
		double took_s = now_s() - start_s;
		if (took_s > longest_s)
			longest_s = took_s;
		if (pace->over_us && took_s * 1e6 > pace->over_us)
			printf("pause_us=%.0f at_s=%.6f\n", took_s * 1e6, start_s + took_s);
		reads++;
		sleep_s(1 / pace->per_second);
	}
	printf("reads=%" PRIu64 " failed=%" PRIu64 " longest_us=%.0f\n", reads, failed,
	       longest_s * 1e6);
	return failed ? 1 : 0;
}
