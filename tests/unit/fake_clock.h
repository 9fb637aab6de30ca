/*
 * fake_clock: clocks that a test can move; otherwise they run in real time.
 *
 * It replaces clock_gettime(2) and timerfd_settime(2) for the whole test. The wall clock can be
 * set. fake_sleep() does what suspending does: CLOCK_BOOTTIME advances, CLOCK_MONOTONIC does not,
 * and timers that became due meanwhile fire.
 */
#ifndef TESTS_UNIT_FAKE_CLOCK_H
#define TESTS_UNIT_FAKE_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define FAKE_TIMERS 8

static _Atomic int64_t fake_boot_ahead_ms, fake_wall_ahead_ms;

/* Timers in the order in which they were first set, with what was asked for. */
static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	int fd;
	struct itimerspec when;
} fake_timers[FAKE_TIMERS];  /* guarded by fake_lock */
static size_t fake_n_timers; /* guarded by fake_lock */

static inline void fake_add(struct timespec *ts, int64_t ms)
{
	int64_t ns = ts->tv_nsec + ms % 1000 * 1000000;

	ts->tv_sec += ms / 1000 + ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	if (ts->tv_nsec < 0) {
		ts->tv_nsec += 1000000000;
		ts->tv_sec--;
	}
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (syscall(SYS_clock_gettime, id, ts) < 0)
		return -1;
	if (id == CLOCK_BOOTTIME)
		fake_add(ts, atomic_load(&fake_boot_ahead_ms));
	if (id == CLOCK_REALTIME)
		fake_add(ts, atomic_load(&fake_wall_ahead_ms));
	return 0;
}

/* With the lock held. All timers here are absolute ones of CLOCK_BOOTTIME. */
static inline int fake_set(int fd, struct itimerspec when)
{
	if (when.it_value.tv_sec || when.it_value.tv_nsec) {
		fake_add(&when.it_value, -atomic_load(&fake_boot_ahead_ms));
		if (when.it_value.tv_sec < 0)
			when.it_value = (struct timespec){ 0, 1 };
	}
	return (int)syscall(SYS_timerfd_settime, fd, TFD_TIMER_ABSTIME, &when, NULL);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
	size_t i = 0;

	(void)old;
	if (flags != TFD_TIMER_ABSTIME)
		abort();
	pthread_mutex_lock(&fake_lock);
	while (i < fake_n_timers && fake_timers[i].fd != fd)
		i++;
	if (i == FAKE_TIMERS)
		abort();
	fake_timers[i].fd = fd;
	fake_timers[i].when = *when;
	if (i == fake_n_timers)
		fake_n_timers++;
	int result = fake_set(fd, *when);
	pthread_mutex_unlock(&fake_lock);
	return result;
}

__attribute__((unused)) static void fake_sleep(int64_t ms)
{
	pthread_mutex_lock(&fake_lock);
	atomic_fetch_add(&fake_boot_ahead_ms, ms);
	atomic_fetch_add(&fake_wall_ahead_ms, ms);
	for (size_t i = 0; i < fake_n_timers; i++)
		fake_set(fake_timers[i].fd, fake_timers[i].when); /* a closed one says EBADF */
	pthread_mutex_unlock(&fake_lock);
}

#endif
