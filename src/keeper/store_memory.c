#include "keeper/store_memory.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/directory.h"
#include "base/util.h"

static int set_number(int context, const char *key, unsigned value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return fsconfig(context, FSCONFIG_SET_STRING, key, text, 0);
}

static int mount_tmpfs(uid_t user, gid_t group)
{
	_cleanup_close_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (context < 0)
		return -1;
	/* Linux before 6.4 cannot exclude a single tmpfs from swapping. */
	fsconfig(context, FSCONFIG_SET_FLAG, "noswap", NULL, 0);
	if (fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
	    set_number(context, "uid", user) < 0 || set_number(context, "gid", group) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(context, FSMOUNT_CLOEXEC,
		       MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

static int make_runtime_dir(uid_t user, gid_t group, char **ret_dir, struct err *err)
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
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || (user != geteuid() && fchown(fd, user, group) < 0)) {
		err_errno(err, "store \"memory\": %s", dir);
		rmdir(dir);
		return -1;
	}
	*ret_dir = steal_ptr(&dir);
	return steal_fd(&fd);
}

int store_memory_make(uid_t user, gid_t group, char **ret_dir, struct err *err)
{
	int fd = mount_tmpfs(user, group);

	if (fd < 0)
		return make_runtime_dir(user, group, ret_dir, err);
	*ret_dir = NULL;
	return fd;
}

void store_memory_remove(const char *dir)
{
	if (dir)
		directory_remove_tree(AT_FDCWD, dir);
}
