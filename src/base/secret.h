/*
 * secret: memory for keys, tokens and passwords.
 *
 * secret_new() gives whole pages that are neither swapped (mlock) nor written to a core dump
 * (MADV_DONTDUMP), and that are wiped when they are freed. Where RLIMIT_MEMLOCK is used up they
 * stay unlocked, which the log says once: a limit must not stop a mount.
 *
 * secret_heap_…() is for libraries that are handed such bytes and allocate by themselves: the
 * ordinary heap, wiped when freed.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stddef.h>

#include "base/util.h"

/* Zeroed, aligned like malloc's. NULL: out of memory. */
void *secret_new(size_t size);
/* Takes NULL. */
void secret_free(void *secret);

static inline void secret_cleanup(void *ptr)
{
	secret_free(*(void **)ptr);
}

#define _cleanup_secret_ _cleanup_(secret_cleanup)

/* Overwrites in a way that the compiler cannot leave out. */
void secret_wipe(void *data, size_t size);

void *secret_heap_malloc(size_t size);
void *secret_heap_realloc(void *ptr, size_t size);
void secret_heap_free(void *ptr);

#endif
