/*
 * spare_memory: is there memory for more pages without evicting pages that are in use?
 *
 * This is checked before a new version is put into the page cache. The answer comes from the
 * kernel's own estimate of available memory (of the machine and of our control group) and from its
 * pressure stall information: whether processes waited for memory lately.
 */
#ifndef MOUNT_PUBLISH_SPARE_MEMORY_H
#define MOUNT_PUBLISH_SPARE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

struct spare_memory;

/* Opens the kernel's files now, for a process that may not open them later. Files that the kernel
 * does not have are ignored. */
int spare_memory_new(struct spare_memory **ret, struct err *err);
/* NULL is allowed. */
void spare_memory_free(struct spare_memory *spare_memory);

DEFINE_CLEANUP(struct spare_memory, spare_memory_free)

/* Is there memory for this many bytes? NULL: always. */
bool spare_memory_has(const struct spare_memory *spare_memory, uint64_t bytes);

/* For tests: the same for given contents of /proc/meminfo, of /proc/pressure/memory, and of
 * memory.max, memory.current and memory.stat of a control group (each may be NULL). */
struct spare_memory_texts {
	const char *meminfo, *pressure, *max, *current, *stat;
};
bool spare_memory_judge(const struct spare_memory_texts *texts, uint64_t bytes);

#endif
