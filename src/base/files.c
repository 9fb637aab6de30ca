#include "base/files.h"

#include "base/helper.h"
#include "base/safe_path.h"
#include "base/util.h"

int files_open(struct helper *helper, const char *path, struct err *err)
{
	int fd = helper ? helper->open_file(helper, path, err)
			: safe_path_open(path, SAFE_PATH_OWN, err);

	return fd < 0 ? err_prefix(err, "opening %s", path) : fd;
}

static int look(struct helper *helper, const char *path, bool follow, struct stat *ret,
		struct err *err)
{
	if (helper)
		return helper->look(helper, path, follow, ret, err);
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OWN, follow, ret, err);
	return found < 0 ? -1 : 0;
}

int files_stat(struct helper *helper, const char *path, struct stat *ret, struct err *err)
{
	return look(helper, path, true, ret, err) < 0 ? err_prefix(err, "looking at %s", path) : 0;
}

int files_lstat(struct helper *helper, const char *path, struct stat *ret, struct err *err)
{
	return look(helper, path, false, ret, err) < 0 ? err_prefix(err, "looking at %s", path) : 0;
}

int files_find_socket(struct helper *helper, const char *path, struct err *err)
{
	int fd = helper ? helper->find_socket(helper, path, err)
			: safe_path_find_socket(path, SAFE_PATH_OWN, err);

	return fd < 0 ? err_prefix(err, "looking at %s", path) : fd;
}

int files_watch(struct helper *helper, int inotify, const char *directory, struct err *err)
{
	int wd = helper ? helper->watch(helper, inotify, directory, err)
			: safe_path_watch(inotify, directory, FILES_WATCH_EVENTS, err);

	return wd < 0 ? err_prefix(err, "watching %s", *directory ? directory : "/") : wd;
}
