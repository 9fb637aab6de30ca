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

static inline int64_t file_time_ns(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * NS_PER_S + ts->tv_nsec;
}

/* Could another write now leave the same time? */
static inline bool file_time_is_young(int64_t time_ns, int64_t now_ns)
{
	return time_ns > now_ns - FILE_TIME_TICK_NS && time_ns < now_ns + FILE_TIME_TICK_NS;
}

#endif
