/*
 * file_lock: flock(2) with a limit on the time to wait.
 */
#ifndef BASE_FILE_LOCK_H
#define BASE_FILE_LOCK_H

#include <stdint.h>
#include <sys/file.h>

/* operation: LOCK_EX or LOCK_SH. wait_ms: 0 to try once. Returns -1 with errno, EWOULDBLOCK if
 * another process still holds the lock. */
int file_lock_wait(int fd, int operation, int64_t wait_ms);

#endif
