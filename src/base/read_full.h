/*
 * read_full: small files, whole.
 */
#ifndef BASE_READ_FULL_H
#define BASE_READ_FULL_H

#include <stddef.h>
#include <sys/types.h>

/* Until `size` bytes are there or the file ends, over interruptions; of a non-blocking descriptor
 * what it has. Returns how many, or -1 with errno. */
ssize_t read_full(int fd, char *ret, size_t size);

#endif
