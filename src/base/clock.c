#include "base/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

/* The wall clock counts as adjusted if its offset changes by more than this. */
#define ADJUSTED_BY_MS 100
#define READ_APART_MS  10
#define NS_PER_MS      1000000

/* As in struct tm: years of four digits. */
#define YEAR_MIN (0 - 1900)
#define YEAR_MAX (9999 - 1900)

static int64_t read_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * MS_PER_S + ts.tv_nsec / NS_PER_MS;
}

int64_t clock_boot_ms(void)
{
	return read_ms(CLOCK_BOOTTIME);
}

int64_t clock_boot_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_awake_ms(void)
{
	return read_ms(CLOCK_MONOTONIC);
}

struct timespec clock_after(int64_t duration_ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (duration_ms > 0) {
		ts.tv_sec += duration_ms / MS_PER_S;
		ts.tv_nsec += duration_ms % MS_PER_S * NS_PER_MS;
	}
	if (ts.tv_nsec >= NS_PER_S) {
		ts.tv_sec++;
		ts.tv_nsec -= NS_PER_S;
	}
	return ts;
}

int64_t clock_wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_wall_ms(void)
{
	return clock_wall_ns() / NS_PER_MS;
}

/* How far the wall clock is ahead of the boot clock, to READ_APART_MS: if the thread is preempted
 * between the two readings, both are repeated. */
static int64_t wall_offset_ms(void)
{
	int64_t boot_ms, wall_ms;

	do {
		boot_ms = clock_boot_ms();
		wall_ms = clock_wall_ms();
	} while (clock_boot_ms() - boot_ms > READ_APART_MS);
	return wall_ms - boot_ms;
}

int64_t clock_wall_at(int64_t boot_ms)
{
	static _Atomic int64_t shown_offset_ms;
	int64_t offset_ms = wall_offset_ms();
	int64_t shown_ms = atomic_load(&shown_offset_ms);

	if (offset_ms - shown_ms > ADJUSTED_BY_MS || shown_ms - offset_ms > ADJUSTED_BY_MS) {
		atomic_store(&shown_offset_ms, offset_ms);
		shown_ms = offset_ms;
	}
	return boot_ms + shown_ms;
}

struct timespec clock_from_ms(int64_t wall_ms)
{
	int64_t ms = wall_ms % MS_PER_S, s = wall_ms / MS_PER_S;

	return ms < 0 ? (struct timespec){ s - 1, (ms + MS_PER_S) * NS_PER_MS }
		      : (struct timespec){ s, ms * NS_PER_MS };
}

int64_t clock_to_ms(struct timespec time)
{
	int64_t ms;

	if (__builtin_mul_overflow((int64_t)time.tv_sec, MS_PER_S, &ms) ||
	    __builtin_add_overflow(ms, time.tv_nsec / NS_PER_MS, &ms))
		return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ms;
}

const char *clock_rfc3339(int64_t wall_ms, char ret[CLOCK_RFC3339_SIZE])
{
	struct timespec time = clock_from_ms(wall_ms);
	struct tm tm;
	char rest[16];

	if (!gmtime_r(&time.tv_sec, &tm) || tm.tm_year < YEAR_MIN || tm.tm_year > YEAR_MAX)
		tm = (struct tm){ .tm_year = 70, .tm_mday = 1 };
	strftime(rest, sizeof(rest), "%m-%dT%H:%M:%S", &tm);
	snprintf(ret, CLOCK_RFC3339_SIZE, "%04d-%s.%03ldZ", tm.tm_year + 1900, rest,
		 time.tv_nsec / NS_PER_MS);
	return ret;
}

const char *clock_human(int64_t duration_ms, char ret[CLOCK_HUMAN_SIZE])
{
	int64_t s = duration_ms / MS_PER_S;

	if (duration_ms < MS_PER_S)
		snprintf(ret, CLOCK_HUMAN_SIZE, "%" PRId64 "ms", duration_ms);
	else if (s < 60)
		snprintf(ret, CLOCK_HUMAN_SIZE, "%" PRId64 ".%" PRId64 "s", s,
			 duration_ms % MS_PER_S / 100);
	else if (s < 3600)
		snprintf(ret, CLOCK_HUMAN_SIZE, "%" PRId64 "m%" PRId64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(ret, CLOCK_HUMAN_SIZE, "%" PRId64 "h%" PRId64 "m", s / 3600,
			 s % 3600 / 60);
	else
		snprintf(ret, CLOCK_HUMAN_SIZE, "%" PRId64 "d%" PRId64 "h", s / 86400,
			 s % 86400 / 3600);
	return ret;
}
