/*
 * secret: memory for keys, tokens and passwords.
 *
 * secret_new() returns whole pages that are neither swapped (mlock) nor written to a core dump
 * (MADV_DONTDUMP), and that are wiped when they are freed. If RLIMIT_MEMLOCK is exhausted they stay
 * unlocked, and one warning is logged: a limit must not prevent a mount.
 *
 * secret_heap_…() are allocators for libraries that handle secrets: ordinary heap memory, wiped
 * when it is freed.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stddef.h>

#include "base/util.h"

/* Zeroed, and aligned as by malloc(). NULL: out of memory. */
void *secret_new(size_t size);
/* Takes NULL. */
void secret_free(void *secret);

static inline void secret_cleanup(void *ptr)
{
	secret_free(*(void **)ptr);
}

#define _cleanup_secret_ _cleanup_(secret_cleanup)

/* Overwrites the bytes; the compiler cannot optimise it away. */
void secret_wipe(void *data, size_t size);

void *secret_heap_malloc(size_t size);
void *secret_heap_realloc(void *ptr, size_t size);
void secret_heap_free(void *ptr);

#endif
