#include "base/read_full.h"

#include <errno.h>
#include <unistd.h>

ssize_t read_full(int fd, char *ret, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = read(fd, ret + used, size - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}
