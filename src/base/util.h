/*
 * util: ownership in the declaration, and the few macros that C lacks.
 *
 * Every local that owns something is declared with one of the _cleanup_ attributes and initialised
 * where it is declared; steal_ptr() and steal_fd() mark each hand-over.
 */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Defines the cleanup function x_cleanup for pointers that are released by release(). */
#define DEFINE_CLEANUP(type, release)                    \
	static inline void release##_cleanup(type **ptr) \
	{                                                \
		if (*ptr)                                \
			release(*ptr);                   \
	}

#define _cleanup_(function) __attribute__((cleanup(function)))

static inline void free_cleanup(void *ptr)
{
	free(*(void **)ptr);
}

static inline void close_cleanup(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
	}
}

static inline void fclose_cleanup(FILE **file)
{
	if (*file)
		fclose(*file);
}

#define _cleanup_free_	 _cleanup_(free_cleanup)
#define _cleanup_close_	 _cleanup_(close_cleanup)
#define _cleanup_fclose_ _cleanup_(fclose_cleanup)

static inline int steal_fd(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}

/* The value of *ptr, which becomes NULL. */
#define steal_ptr(ptr)                               \
	({                                           \
		__typeof__(*(ptr)) stolen_ = *(ptr); \
		*(ptr) = NULL;                       \
		stolen_;                             \
	})

#endif
