/*
 * Where a store lives that must not touch a disk.
 *
 * A tmpfs that is attached nowhere: nobody else can reach it, and it is gone with its last
 * descriptor. Without the right to mount one, a directory below $XDG_RUNTIME_DIR has to do.
 */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>

#include "term/store_internal.h"

static int mount_tmpfs(void)
{
	_cleanup_close_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (context < 0)
		return -1;
	/* Linux before 6.4 cannot keep one tmpfs alone from being swapped out. */
	fsconfig(context, FSCONFIG_SET_FLAG, "noswap", NULL, 0);
	if (fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(context, FSMOUNT_CLOEXEC,
		       MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

static int make_runtime_dir(struct store *store, struct err *err)
{
	const char *parent = getenv("XDG_RUNTIME_DIR");
	_cleanup_free_ char *dir = NULL;

	if (!parent || parent[0] != '/')
		return err_set(err, ERR_CONFIG,
			       "store \"memory\": no right to mount a tmpfs, and XDG_RUNTIME_DIR "
			       "names no directory");
	if (asprintf(&dir, "%s/rptfs-XXXXXX", parent) < 0) {
		dir = NULL;
		return err_set(err, ERR_INTERNAL, "store \"memory\": out of memory");
	}
	if (!mkdtemp(dir)) {
		err_errno(err, "store \"memory\": no right to mount a tmpfs, and below %s", parent);
		err->kind = ERR_CONFIG;
		return -1;
	}
	store->runtime_dir = steal_ptr(&dir);
	store->dir_fd = open(store->runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir_fd < 0)
		return err_errno(err, "store \"memory\": %s", store->runtime_dir);
	return 0;
}

int store_make_memory(struct store *store, struct err *err)
{
	store->mount_fd = mount_tmpfs();
	if (store->mount_fd < 0)
		return make_runtime_dir(store, err);
	store->dir_fd = openat(store->mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir_fd < 0)
		return err_errno(err, "store \"memory\": private tmpfs");
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

void store_remove_tree(const char *dir)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
