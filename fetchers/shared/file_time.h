/*
 * file_time: the times of files, which Linux keeps in coarse steps.
 */
#ifndef FETCHERS_SHARED_FILE_TIME_H
#define FETCHERS_SHARED_FILE_TIME_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"

/* The coarsest step. */
#define FILE_TIME_TICK_NS INT64_C(10000000)

/* Times before 1677 and after 2262 become the nearest int64_t. */
static inline int64_t file_time_ns(const struct timespec *ts)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)ts->tv_sec, NS_PER_S, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
		return ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static inline bool file_time_is_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Could another write now leave the same time? */
static inline bool file_time_is_young(int64_t time_ns, int64_t now_ns)
{
	return time_ns > now_ns - FILE_TIME_TICK_NS && time_ns < now_ns + FILE_TIME_TICK_NS;
}

#endif
