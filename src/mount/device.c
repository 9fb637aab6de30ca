#include "mount/device.h"

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <mntent.h>
#include <spawn.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/util.h"

#define OPTIONS "ro,nosuid,nodev,default_permissions,fsname=rptfs,subtype=rptfs"

/* Initial read-ahead is 128 KiB, and INIT can only lower it. */
#define READ_AHEAD_KIB "1024"

extern char **environ;

/* What libfuse said last; mounting happens once, before there are threads. */
static char libfuse_said[256];

__attribute__((format(printf, 2, 0))) static void remember(enum fuse_log_level level,
							   const char *fmt, va_list args)
{
	(void)level;
	vsnprintf(libfuse_said, sizeof(libfuse_said), fmt, args);
	libfuse_said[strcspn(libfuse_said, "\n")] = '\0';
}

/* From the kernel's table, for a statfs() would ask its daemon. */
static bool is_mounted_already(const char *mountpoint)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	bool found = false;

	if (!mounts)
		return false;
	while (!found && (entry = getmntent(mounts)))
		found = strcmp(entry->mnt_type, "fuse.rptfs") == 0 &&
			strcmp(entry->mnt_dir, mountpoint) == 0;
	endmntent(mounts);
	return found;
}

static int check_mountpoint(const char *mountpoint, struct err *err)
{
	struct statx stx;

	/* Must not ask a file system that hangs, hence no synchronisation. */
	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) <
	    0) {
		if (errno == ENOTCONN)
			return err_set(
				err, ERR_INTERNAL,
				"%s is a mount whose daemon is gone; remove it with: umount -l %s",
				mountpoint, mountpoint);
		return err_errno(err, "mountpoint %s", mountpoint);
	}
	if (!S_ISDIR(stx.stx_mode))
		return err_set(err, ERR_INTERNAL, "mountpoint %s: not a directory", mountpoint);
	if (is_mounted_already(mountpoint))
		return err_set(err, ERR_INTERNAL, "an rptfs is mounted at %s already", mountpoint);
	return 0;
}

static int check_device(struct err *err)
{
	struct stat stat_buf;

	if (stat("/dev/fuse", &stat_buf) < 0)
		return err_errno(err,
				 "/dev/fuse is needed to mount (modprobe fuse; in a container: "
				 "--device /dev/fuse)");
	return 0;
}

dev_t device_number(const char *mountpoint)
{
	struct statx stx;

	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) < 0)
		return 0;
	return makedev(stx.stx_dev_major, stx.stx_dev_minor);
}

static void set_read_ahead(dev_t number)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(number),
		 minor(number));
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, READ_AHEAD_KIB, strlen(READ_AHEAD_KIB)) < 0) {
		/* A user's mount may not; it reads with 128 KiB then. */
	}
}

int device_mount(const char *mountpoint, bool allow_other, struct err *err)
{
	if (check_device(err) < 0 || check_mountpoint(mountpoint, err) < 0)
		return -1;
	fuse_set_log_func(remember);
	_cleanup_close_ int fd = fuse_open_channel(mountpoint,
						   allow_other ? OPTIONS ",allow_other" : OPTIONS);
	fuse_set_log_func(NULL);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, "%s could not be mounted%s%s", mountpoint,
			       *libfuse_said ? ": " : "", libfuse_said);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	set_read_ahead(device_number(mountpoint));
	return steal_fd(&fd);
}

void device_unmount(const char *mountpoint, dev_t number)
{
	char *argv[] = { (char *)"fusermount3", (char *)"-u",	    (char *)"-z", (char *)"-q",
			 (char *)"--",		(char *)mountpoint, NULL };
	pid_t pid;
	int status;

	if (!number || device_number(mountpoint) != number)
		return;
	if (geteuid() == 0) {
		umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
		return;
	}
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
		waitpid(pid, &status, 0);
}
