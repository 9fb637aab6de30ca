/*
 * read_full: read(2) that does not stop early.
 */
#ifndef BASE_READ_FULL_H
#define BASE_READ_FULL_H

#include <stddef.h>
#include <sys/types.h>

/* Reads until size bytes are there or the file ends, and continues after interruptions. A
 * non-blocking descriptor without data fails with EAGAIN. Returns the number of bytes, or -1 with
 * errno. */
ssize_t read_full(int fd, char *ret, size_t size);

#endif
