#include "base/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

static void closedir_cleanup(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static DIR *open_directory(int parent_fd, const char *name)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		close_cleanup(&fd);
	return dir;
}

int directory_list(int parent_fd, const char *dir,
		   int (*each)(void *arg, int dir_fd, const char *name), void *arg)
{
	_cleanup_(closedir_cleanup) DIR *stream = open_directory(parent_fd, dir);
	struct dirent *entry;

	if (!stream)
		return -1;
	while ((errno = 0, entry = readdir(stream))) {
		const char *name = entry->d_name;

		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
		    each(arg, dirfd(stream), name) < 0)
			return -1;
	}
	return errno ? -1 : 0;
}

static int remove_one(void *arg, int dir_fd, const char *name)
{
	const dev_t *device = arg;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != *device)
		return 0;
	if (S_ISDIR(st.st_mode))
		directory_list(dir_fd, name, remove_one, arg);
	unlinkat(dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	return 0;
}

void directory_remove_tree(int parent_fd, const char *name)
{
	struct stat st;

	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		remove_one(&st.st_dev, parent_fd, name);
}
