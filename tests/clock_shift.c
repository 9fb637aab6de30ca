/*
 * clock_shift: a wall clock that a test sets, for LD_PRELOAD.
 *
 * RPTFS_CLOCK_SHIFT names a file of eight bytes: the milliseconds by which the wall clock is ahead
 * (int64_t, native byte order). It is mapped before main(), so it works in a sandbox, and read at
 * each call. A write to the file sets the clock of all processes that map it. Other clocks are
 * unchanged.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t *ahead_ms; /* NULL: no shift */

__attribute__((constructor)) static void map(void)
{
	const char *path = getenv("RPTFS_CLOCK_SHIFT");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	void *page = mmap(NULL, sizeof(*ahead_ms), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (page != MAP_FAILED)
		ahead_ms = page;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (syscall(SYS_clock_gettime, id, ts) < 0)
		return -1;
	if (!ahead_ms || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return 0;
	int64_t ms = atomic_load(ahead_ms);
	int64_t ns = ts->tv_nsec + ms % 1000 * 1000000;
	ts->tv_sec += ms / 1000 + (ns >= 1000000000) - (ns < 0);
	ts->tv_nsec = ns + (ns < 0) * INT64_C(1000000000) -
		      (ns >= 1000000000) * INT64_C(1000000000);
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	ret->tv_sec = ts.tv_sec;
	ret->tv_usec = ts.tv_nsec / 1000;
	return 0;
}
