/*
 * headroom: is there memory for more pages, without taking those that are in use?
 *
 * Asked before a new version is put into the page cache. What answers is the kernel's own estimate
 * of what is available, of the machine and of the control group that is charged, and whether
 * anything has had to wait for memory lately (pressure stall information).
 */
#ifndef MOUNT_PUBLISH_HEADROOM_H
#define MOUNT_PUBLISH_HEADROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

struct headroom;

/* Opens what is looked at later, for a process that may not open it any more then. What the kernel
 * does not have is not looked at. */
int headroom_new(struct headroom **ret, struct err *err);
/* NULL is allowed. */
void headroom_free(struct headroom *headroom);

DEFINE_CLEANUP(struct headroom, headroom_free)

/* For so many bytes more. NULL: always. */
bool headroom_has(const struct headroom *headroom, uint64_t bytes);

/* For tests: the same of texts, as the kernel has them in /proc/meminfo, in /proc/pressure/memory,
 * and in memory.max, memory.current and memory.stat of a control group (each may be NULL). */
struct headroom_texts {
	const char *meminfo, *pressure, *max, *current, *stat;
};
bool headroom_judge(const struct headroom_texts *texts, uint64_t bytes);

#endif
