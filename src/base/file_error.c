#include "base/file_error.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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

int file_error(struct err *err)
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
