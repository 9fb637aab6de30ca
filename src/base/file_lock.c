#include "base/file_lock.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"

int file_lock_wait(int fd, int operation, int64_t wait_ms)
{
	int64_t end_ms = clock_boot_ms() + wait_ms;
	int result;

	while ((result = flock(fd, operation | LOCK_NB)) < 0 &&
	       (errno == EWOULDBLOCK || errno == EINTR) && clock_boot_ms() < end_ms)
		usleep(10 * 1000);
	return result;
}
