#include "base/fd_path.h"

#include <stdio.h>
#include <unistd.h>

const char *fd_path(int fd, char ret[FD_PATH_SIZE])
{
	snprintf(ret, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
	return ret;
}

int fd_path_find(int fd, char ret[PATH_MAX])
{
	char self[FD_PATH_SIZE];
	ssize_t len = readlink(fd_path(fd, self), ret, PATH_MAX - 1);

	if (len >= 0)
		ret[len] = '\0';
	return (int)len;
}
