/*
 * The names in the store's directories: what they mean, listing them, removing a whole tree.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "store/store_internal.h"

/* Beyond any id that is ever given: a file with such a name is not ours. */
#define FOREIGN_ID (UINT64_C(1) << 62)

bool store_is_shard(const char *name)
{
	return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

uint64_t store_parse_id(const char *shard, const char *name)
{
	char path[STORE_PATH_SIZE];
	uint64_t id = strtoull(name, NULL, 10);

	store_path(id, path);
	if (id == 0 || id >= FOREIGN_ID || strncmp(path, shard, 2) != 0 ||
	    strcmp(path + 3, name) != 0)
		return 0;
	return id;
}

const char *store_temporary_prefix(const struct store *store, char ret[STORE_TEMPORARY_SIZE])
{
	snprintf(ret, STORE_TEMPORARY_SIZE, STORE_TEMPORARY "%" PRIu32 "-", store_life(store));
	return ret;
}

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

int store_list_names(int parent_fd, const char *dir,
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

	/* What cannot be removed stays, and its directories with it. */
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != *device)
		return 0;
	if (S_ISDIR(st.st_mode))
		store_list_names(dir_fd, name, remove_one, arg);
	unlinkat(dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	return 0;
}

void store_remove_tree(int parent_fd, const char *name)
{
	struct stat st;

	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		remove_one(&st.st_dev, parent_fd, name);
}
