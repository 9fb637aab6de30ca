/*
 * clock: the clocks, and how times are written.
 *
 * Waiting and planning use the boot clock (CLOCK_BOOTTIME, which includes suspended time, so that
 * terms are due when the machine wakes). The wall clock can jump. It is for times that people see,
 * for dates from elsewhere (HTTP, credentials, file times), and for times that are kept across a
 * restart.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define MS_PER_S 1000
#define NS_PER_S INT64_C(1000000000)

/* Milliseconds since boot, suspended time included. Never goes back. */
int64_t clock_boot_ms(void);

/* The same clock, in nanoseconds. */
int64_t clock_boot_ns(void);

/* Milliseconds that this machine was awake, for time limits on other processes. */
int64_t clock_awake_ms(void);

/* Now plus duration_ms on CLOCK_MONOTONIC, for pthread_cond_clockwait(). */
struct timespec clock_after(int64_t duration_ms);

/* Milliseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_ms(void);

/* Nanoseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_ns(void);

/* Converts a time of clock_boot_ms() to wall clock time, with the present offset between the two
 * clocks. The result for one time changes only if the wall clock is set, or in steps of 100 ms
 * while it is adjusted. */
int64_t clock_wall_at(int64_t boot_ms);

/* As a struct timespec, a time of the wall clock has nanoseconds from 0 to 999,999,999, also before
 * 1970. This one is no time. */
#define CLOCK_NO_TIME ((struct timespec){ .tv_nsec = -1 })

static inline bool clock_is_time(struct timespec time)
{
	return time.tv_nsec >= 0;
}

struct timespec clock_from_ms(int64_t wall_ms);
/* Rounded down; the nearest int64_t if it does not fit. */
int64_t clock_to_ms(struct timespec time);

/* RFC 3339 in UTC with milliseconds, "2026-01-31T12:00:00.250Z"; ret holds CLOCK_RFC3339_SIZE. */
#define CLOCK_RFC3339_SIZE 48
const char *clock_rfc3339(int64_t wall_ms, char ret[CLOCK_RFC3339_SIZE]);

/* A duration for people, "250ms", "4.2s", "12m30s", "3d4h"; ret holds CLOCK_HUMAN_SIZE. */
#define CLOCK_HUMAN_SIZE 32
const char *clock_human(int64_t duration_ms, char ret[CLOCK_HUMAN_SIZE]);

#endif
