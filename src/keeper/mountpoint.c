#include "keeper/mountpoint.h"

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/fd_path.h"
#include "base/log.h"
#include "base/util.h"

#define USER_OPTIONS "ro,nosuid,nodev,default_permissions,fsname=rptfs,subtype=rptfs"

/* Root's programs read what comes from anywhere: they follow no link and open no device in it. */
#define PUBLIC_ATTRIBUTES \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSYMFOLLOW)

/* The kernel starts with 128 KiB, and INIT can only lower that. */
#define READ_AHEAD_KIB "1024"

/* How long a mount may take to answer before it counts as alive. */
#define ANSWER_MAX_MS 2000

#ifndef MOVE_MOUNT_BENEATH
#	define MOVE_MOUNT_BENEATH 0x200
#endif

extern char **environ;

/* ------------------------------------------------------------------ the table of mounts */

struct mounted {
	bool is_rptfs;
	bool allow_other;
};

/* Reads the table of mounts, because statfs() would wait for the daemon. */
static struct mounted find_mounted(const char *mountpoint)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	struct mounted found = { 0 };

	if (!mounts)
		return found;
	/* The last mount at a path is the visible one. */
	while ((entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_dir, mountpoint) == 0)
			found = (struct mounted){
				.is_rptfs = strcmp(entry->mnt_type, "fuse.rptfs") == 0,
				.allow_other = hasmntopt(entry, "allow_other"),
			};
	}
	endmntent(mounts);
	return found;
}

static bool is_rptfs_mounted(const char *mountpoint)
{
	return find_mounted(mountpoint).is_rptfs;
}

bool mountpoint_allows_others(const char *mountpoint)
{
	return find_mounted(mountpoint).allow_other;
}

/* Uses cached attributes only, because the daemon may hang. */
static int stat_cached(const char *path, struct statx *ret)
{
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, ret);
}

static dev_t number_of(const struct statx *stx)
{
	return makedev(stx->stx_dev_major, stx->stx_dev_minor);
}

dev_t mountpoint_number(const char *mountpoint)
{
	struct statx stx;

	return stat_cached(mountpoint, &stx) < 0 ? 0 : number_of(&stx);
}

/* Returns 0 if it cannot be found out. */
static dev_t number_of_fd(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0
		       ? 0
		       : number_of(&stx);
}

/* The root of the mount that is at the path now, if it has this device number; else -1. */
static int open_mounted(const char *mountpoint, dev_t number)
{
	_cleanup_close_ int fd = open(mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return number_of_fd(fd) == number ? steal_fd(&fd) : -1;
}

/* Distinguishes mounts at the same path. */
static uint64_t mount_id(const char *mountpoint)
{
	struct statx stx;

	return statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID,
		     &stx) < 0
		       ? 0
		       : stx.stx_mnt_id;
}

/* By descriptor: something else may be at the path by now. */
static bool detach_as_root(const char *mountpoint, dev_t number, int flags)
{
	_cleanup_close_ int fd = open_mounted(mountpoint, number);
	char path[FD_PATH_SIZE];

	return fd >= 0 && umount2(fd_path(fd, path), flags) == 0;
}

static bool detach_as_user(const char *mountpoint)
{
	char *argv[] = { (char *)"fusermount3", (char *)"-u",	    (char *)"-z", (char *)"-q",
			 (char *)"--",		(char *)mountpoint, NULL };
	int status = -1;
	pid_t pid;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
		waitpid(pid, &status, 0);
	return status == 0;
}

bool mountpoint_unmount(const char *mountpoint, dev_t number)
{
	if (!number || mountpoint_number(mountpoint) != number)
		return false;
	return geteuid() == 0 ? detach_as_root(mountpoint, number, MNT_DETACH)
			      : detach_as_user(mountpoint);
}

/* Fails the requests that wait for an answer, even if a process that cannot be killed still holds
 * the device. */
static void abort_connection(const char *mountpoint, dev_t number)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", minor(number));
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool is_done = fd >= 0 && write(fd, "1", 1) == 1;
	if (!is_done && geteuid() == 0)
		detach_as_root(mountpoint, number, MNT_FORCE | MNT_DETACH);
}

void mountpoint_unmount_number(dev_t number)
{
	FILE *mounts = number ? setmntent("/proc/self/mounts", "re") : NULL;
	const struct mntent *entry;

	if (!mounts)
		return;
	while ((entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_type, "fuse.rptfs") == 0)
			mountpoint_unmount(entry->mnt_dir, number);
	}
	endmntent(mounts);
}

/* ------------------------------------------------------------------ before mounting */

/* The kernel's cache outlives the daemon, so a request must reach the daemon. A child makes it,
 * because the daemon may hang. */
static bool is_dead(const char *path)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct statx stx;
		int result = statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT,
				   STATX_TYPE, &stx);
		_exit(result < 0 && errno == ENOTCONN);
	}
	if (pid < 0)
		return false;
	for (int waited_ms = 0; waited_ms < ANSWER_MAX_MS; waited_ms += 5) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) && WEXITSTATUS(status) == 1;
		usleep(5000);
	}
	kill(pid, SIGKILL); /* it ends once statx() returns */
	return false;
}

/* There may be several at one path. */
static int remove_dead_mounts(const char *mountpoint, struct err *err)
{
	uint64_t id = 0;

	while (is_rptfs_mounted(mountpoint) && is_dead(mountpoint)) {
		uint64_t before = id;

		id = mount_id(mountpoint);
		if (id && id == before)
			return err_set(err, ERR_INTERNAL,
				       "%s is a mount whose daemon is gone, and it cannot be "
				       "removed; try: umount -l %s",
				       mountpoint, mountpoint);
		mountpoint_unmount(mountpoint, mountpoint_number(mountpoint));
		log_event(LOG_LEVEL_WARNING, "dead_mount_replaced",
			  LOG_STR("mountpoint", mountpoint));
	}
	return 0;
}

static int check_directory(const char *mountpoint, struct err *err)
{
	struct statx stx;

	if (stat_cached(mountpoint, &stx) < 0) {
		if (errno == ENOTCONN)
			return err_set(err, ERR_INTERNAL,
				       "%s is the mount of another program that has died; remove "
				       "it with: umount -l %s",
				       mountpoint, mountpoint);
		return err_errno(err, "mountpoint %s", mountpoint);
	}
	return S_ISDIR(stx.stx_mode)
		       ? 0
		       : err_set(err, ERR_INTERNAL, "mountpoint %s: not a directory", mountpoint);
}

/* The directory at the path, which has no links: another one would have another path. */
static int open_place(const char *mountpoint, struct err *err)
{
	_cleanup_close_ int place = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char path[PATH_MAX];

	if (place < 0 || fd_path_find(place, path) < 0)
		return err_errno(err, "mountpoint %s", mountpoint);
	if (strcmp(path, mountpoint) != 0)
		return err_set(err, ERR_INTERNAL, "mountpoint %.150s leads to %.150s now",
			       mountpoint, path);
	return steal_fd(&place);
}

enum mountpoint_use mountpoint_prepare(const char *mountpoint, int *ret_place, struct err *err)
{
	struct stat st;

	if (stat("/dev/fuse", &st) < 0) {
		err_errno(err, "/dev/fuse is needed to mount (modprobe fuse; in a container: "
			       "--device /dev/fuse)");
		return MOUNTPOINT_UNUSABLE;
	}
	if (remove_dead_mounts(mountpoint, err) < 0 || check_directory(mountpoint, err) < 0)
		return MOUNTPOINT_UNUSABLE;
	if (is_rptfs_mounted(mountpoint))
		return MOUNTPOINT_MOUNTED;
	_cleanup_close_ int place = open_place(mountpoint, err);
	if (place < 0)
		return MOUNTPOINT_UNUSABLE;
	/* A lock on the directory beneath excludes another rptfs that starts now. */
	_cleanup_close_ int lock = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return MOUNTPOINT_LOCKED;
	if (is_rptfs_mounted(mountpoint))
		return MOUNTPOINT_MOUNTED;
	*ret_place = lock >= 0 ? steal_fd(&lock) : steal_fd(&place);
	return MOUNTPOINT_FREE;
}

/* ------------------------------------------------------------------ mounting as root */

/* Sets *err from errno, and from the message that the kernel left in the file system context. */
static int refused(int context, const char *mountpoint, struct err *err)
{
	char message[256] = "";
	int number = errno;
	ssize_t n = context < 0 ? -1 : read(context, message, sizeof(message) - 1);

	message[n < 0 ? 0 : n] = '\0';
	message[strcspn(message, "\n")] = '\0';
	errno = number;
	if (number == EPERM)
		return err_set(err, ERR_INTERNAL,
			       "%s could not be mounted: not permitted (in a container: "
			       "--cap-add SYS_ADMIN)",
			       mountpoint);
	return err_errno(err, "%s could not be mounted%s%s", mountpoint, *message ? ": " : "",
			 message);
}

static int configure(int context, int device, const struct mountpoint_setup *setup)
{
	char device_text[16], uid[16], gid[16];

	snprintf(device_text, sizeof(device_text), "%d", device);
	snprintf(uid, sizeof(uid), "%u", (unsigned)getuid());
	snprintf(gid, sizeof(gid), "%u", (unsigned)getgid());
	const struct {
		const char *key, *value;
	} strings[] = {
		{ "source", "rptfs" },	 { "subtype", "rptfs" }, { "fd", device_text },
		{ "rootmode", "40000" }, { "user_id", uid },	 { "group_id", gid },
	};
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		if (fsconfig(context, FSCONFIG_SET_STRING, strings[i].key, strings[i].value, 0) < 0)
			return -1;
	}
	if ((!setup->is_writable && fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0) ||
	    fsconfig(context, FSCONFIG_SET_FLAG, "default_permissions", NULL, 0) < 0 ||
	    (setup->allow_other &&
	     fsconfig(context, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) < 0))
		return -1;
	return fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* Another mount of the same superblock. mount: the first one. */
static int open_handle(int mount, bool is_writable)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSYMFOLLOW | (is_writable ? 0 : MOUNT_ATTR_RDONLY),
		.attr_clr = is_writable ? MOUNT_ATTR_RDONLY : 0,
	};
	_cleanup_close_ int handle = open_tree(mount, "",
					       AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (handle < 0 || mount_setattr(handle, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -1;
	return steal_fd(&handle);
}

/* On the directory `place`; move_flags: MOVE_MOUNT_BENEATH, with the root of a mount, or 0. */
static int mount_as_root(const struct mountpoint_setup *setup, int place, unsigned move_flags,
			 struct mountpoint_made *ret, struct err *err)
{
	const unsigned attributes = PUBLIC_ATTRIBUTES | (setup->noexec ? MOUNT_ATTR_NOEXEC : 0);
	_cleanup_close_ int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return err_errno(err, "/dev/fuse");
	_cleanup_close_ int context = fsopen("fuse", FSOPEN_CLOEXEC);
	if (context < 0 || configure(context, device, setup) < 0)
		return refused(context, setup->mountpoint, err);
	_cleanup_close_ int mount = fsmount(context, FSMOUNT_CLOEXEC, attributes);
	if (mount < 0 ||
	    move_mount(mount, "", place, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | move_flags) < 0)
		return refused(context, setup->mountpoint, err);
	*ret = (struct mountpoint_made){
		.device = steal_fd(&device),
		.handle = open_handle(mount, setup->is_writable),
		.number = number_of_fd(mount),
	};
	return 0;
}

static int mount_on_place(const struct mountpoint_setup *setup, struct mountpoint_made *ret,
			  struct err *err)
{
	_cleanup_close_ int now = -1;

	if (setup->place < 0 && (now = open_place(setup->mountpoint, err)) < 0)
		return -1;
	return mount_as_root(setup, setup->place < 0 ? now : setup->place, 0, ret, err);
}

/* The path stays mounted all the time. Returns -1 if that is not possible. */
static int mount_beneath(const struct mountpoint_setup *setup, dev_t number,
			 struct mountpoint_made *ret)
{
	_cleanup_close_ int old = open_mounted(setup->mountpoint, number);
	struct err err = ERR_INIT;

	return old < 0 ? -1 : mount_as_root(setup, old, MOVE_MOUNT_BENEATH, ret, &err);
}

/* ------------------------------------------------------------------ mounting as a user */

/* The last message of libfuse. There is one thread. */
static char libfuse_message[256];

__attribute__((format(printf, 2, 0))) static void remember(enum fuse_log_level level,
							   const char *fmt, va_list args)
{
	(void)level;
	vsnprintf(libfuse_message, sizeof(libfuse_message), fmt, args);
	libfuse_message[strcspn(libfuse_message, "\n")] = '\0';
}

static int mount_as_user(const struct mountpoint_setup *setup, struct mountpoint_made *ret,
			 struct err *err)
{
	char options[sizeof(USER_OPTIONS ",allow_other,noexec")];

	snprintf(options, sizeof(options), USER_OPTIONS "%s%s",
		 setup->allow_other ? ",allow_other" : "", setup->noexec ? ",noexec" : "");
	fuse_set_log_func(remember);
	_cleanup_close_ int fd = fuse_open_channel(setup->mountpoint, options);
	fuse_set_log_func(NULL);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, "%s could not be mounted%s%s", setup->mountpoint,
			       *libfuse_message ? ": " : "", libfuse_message);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	*ret = (struct mountpoint_made){
		.device = steal_fd(&fd),
		.handle = -1,
		.number = mountpoint_number(setup->mountpoint),
	};
	return 0;
}

/* ------------------------------------------------------------------ both */

static void set_read_ahead(dev_t number)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(number),
		 minor(number));
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, READ_AHEAD_KIB, strlen(READ_AHEAD_KIB)) < 0) {
		/* Only root may raise it; other users keep 128 KiB. */
	}
}

int mountpoint_mount(const struct mountpoint_setup *setup, struct mountpoint_made *ret,
		     struct err *err)
{
	int result = geteuid() == 0 ? mount_on_place(setup, ret, err)
				    : mount_as_user(setup, ret, err);

	if (result == 0)
		set_read_ahead(ret->number);
	return result;
}

int mountpoint_replace(const struct mountpoint_setup *setup, dev_t number,
		       struct mountpoint_made *ret, struct err *err)
{
	int result = geteuid() == 0 ? mount_beneath(setup, number, ret) : -1;

	abort_connection(setup->mountpoint, number);
	mountpoint_unmount(setup->mountpoint, number);
	if (result < 0)
		return mountpoint_mount(setup, ret, err);
	set_read_ahead(ret->number);
	return 0;
}

/* ------------------------------------------------------------------ finding the mount */

static int fail_covered(const char *mountpoint, struct err *err)
{
	return err_set(err, ERR_INTERNAL, "%s: another file system is mounted there", mountpoint);
}

int mountpoint_open_handle(const char *mountpoint, dev_t number, bool is_writable, struct err *err)
{
	if (geteuid() != 0)
		return err_set(err, ERR_INTERNAL, "%s: only root can open a handle of a mount",
			       mountpoint);
	_cleanup_close_ int mount = open_mounted(mountpoint, number);
	if (mount < 0)
		return fail_covered(mountpoint, err);
	_cleanup_close_ int handle = open_handle(mount, is_writable);
	if (handle < 0)
		return err_errno(err, "%s: opening a handle of the mount", mountpoint);
	return steal_fd(&handle);
}

int mountpoint_set_noexec(const char *mountpoint, dev_t number, bool noexec, struct err *err)
{
	_cleanup_close_ int mount = open_mounted(mountpoint, number);
	struct mount_attr attr = {
		.attr_set = noexec ? MOUNT_ATTR_NOEXEC : 0,
		.attr_clr = noexec ? 0 : MOUNT_ATTR_NOEXEC,
	};

	if (mount < 0)
		return fail_covered(mountpoint, err);
	if (mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_errno(err, "%s: changing noexec", mountpoint);
	return 0;
}

int mountpoint_make_writable(int handle, struct err *err)
{
	_cleanup_close_ int context = fspick(handle, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);

	if (context < 0 || fsconfig(context, FSCONFIG_SET_FLAG, "rw", NULL, 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return err_errno(err, "making the superblock writable");
	return 0;
}

/* The third field of a line of mountinfo: "36 35 98:0 /mnt1 …". */
static bool has_number(const char *line, dev_t number)
{
	unsigned device_major, device_minor;

	return sscanf(line, "%*u %*u %u:%u", &device_major, &device_minor) == 2 &&
	       makedev(device_major, device_minor) == number;
}

/* The options of the superblock are the last field: "… - fuse.rptfs rptfs ro,user_id=0". */
static bool has_read_only_superblock(const char *line, const char *end)
{
	const char *options = memrchr(line, ' ', (size_t)(end - line));

	return options && strncmp(options, " ro", 3) == 0 && strchr(",\n", options[3]);
}

bool mountpoint_is_connected(int device)
{
	struct pollfd pfd = { .fd = device };

	return device >= 0 && !(poll(&pfd, 1, 0) == 1 && (pfd.revents & (POLLERR | POLLNVAL)));
}

bool mountpoint_is_mounted(int mounts, dev_t number, bool *ret_read_only)
{
	static char text[65536]; /* the keeper has one thread */
	size_t len = 0;
	ssize_t got = 0;

	if (mounts < 0 || lseek(mounts, 0, SEEK_SET) < 0)
		return true;
	while (len < sizeof(text) - 1 &&
	       (got = read(mounts, text + len, sizeof(text) - 1 - len)) > 0) {
		char *line = text, *end;

		len += (size_t)got;
		text[len] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			if (!has_number(line, number))
				continue;
			if (ret_read_only)
				*ret_read_only = has_read_only_superblock(line, end);
			return true;
		}
		len = strlen(line);
		memmove(text, line, len);
	}
	return got != 0;
}
