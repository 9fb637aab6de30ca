#include "base/files.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "base/read_full.h"
#include "base/util.h"
#include "base/helper.h"

static enum err_kind kind_of(int number)
{
	switch (number) {
	case ENOENT:
	case ENOTDIR:
		return ERR_NOT_FOUND;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case ENXIO:
		return ERR_BAD_DATA;
	case ENOSPC:
		return ERR_BUSY;
	default:
		return ERR_INTERNAL;
	}
}

int files_fail(struct err *err)
{
	enum err_kind kind = kind_of(errno);
	char reason[128];

	const char *text = strerror_r(errno, reason, sizeof(reason));
	if (kind == ERR_DENIED)
		return err_set(err, kind, "%s (to uid %u)", text, (unsigned)geteuid());
	if (kind == ERR_BUSY) /* ENOSPC from inotify_add_watch(2) */
		return err_set(err, kind,
			       "no more inotify watches (fs.inotify.max_user_watches): changes "
			       "are noticed at each refresh_interval only");
	return err_set(err, kind, "%s", text);
}

static bool may_ask(const struct helper *helper)
{
	return helper && (errno == EACCES || errno == EPERM);
}

int files_open(struct helper *helper, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		fd = may_ask(helper) ? helper->open_file(helper, path, err) : files_fail(err);
	return fd < 0 ? err_prefix(err, "opening %s", path) : fd;
}

ssize_t files_read(struct helper *helper, const char *path, void *ret, size_t size, struct err *err)
{
	_cleanup_close_ int fd = files_open(helper, path, err);

	if (fd < 0)
		return -1;
	ssize_t len = read_full(fd, ret, size);
	if (len < 0) {
		files_fail(err);
		return err_prefix(err, "reading %s", path);
	}
	return len;
}

int files_stat(struct helper *helper, const char *path, struct stat *ret, struct err *err)
{
	if (stat(path, ret) == 0)
		return 0;
	int rc = may_ask(helper) ? helper->look(helper, path, true, ret, err) : files_fail(err);
	return rc < 0 ? err_prefix(err, "looking at %s", path) : 0;
}

int files_lstat(struct helper *helper, const char *path, struct stat *ret, struct err *err)
{
	if (lstat(path, ret) == 0)
		return 0;
	int rc = may_ask(helper) ? helper->look(helper, path, false, ret, err) : files_fail(err);
	return rc < 0 ? err_prefix(err, "looking at %s", path) : 0;
}

int files_watch(struct helper *helper, int inotify, const char *directory, struct err *err)
{
	const char *shown = *directory ? directory : "/";
	int wd = inotify_add_watch(inotify, shown, FILES_WATCH_EVENTS);

	if (wd < 0)
		wd = may_ask(helper) ? helper->watch(helper, inotify, directory, err)
				     : files_fail(err);
	return wd < 0 ? err_prefix(err, "watching %s", shown) : wd;
}
