/*
 * The worker's root: a mount namespace of its own, and in it a file system with what libraries read
 * and nothing else.
 *
 *	/usr, /lib…              the machine's, read-only
 *	/etc                     links to the names in the machine's /etc, which is at /.rptfs/etc,
 *	                         read-only. resolv.conf alone is a copy, because it may be a link to
 *	                         anywhere, also to a directory that is made later
 *	/run, /var               the directories of resolvers and name services, with their sockets
 *	/proc                    this PID namespace's, read-only
 *	/dev                     null, random, urandom, the socket of the log
 *
 * Nothing in it can be mounted, and it is gone with the worker. It is built as a mount that is
 * attached nowhere, laid over the root of the new namespace, and made the root; the old one is
 * detached.
 *
 * A worker that held a copy of its own mount would keep the connection for ever. So mounts below
 * /usr and /etc come along, but not those that a daemon serves, nor any below what the environment
 * names. And all of it is tried in a child
 * first, because a process that fails half-way cannot leave the copies of the machine's mounts.
 *
 * Runs in the worker, as its user with CAP_SYS_ADMIN.
 */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__)
#	include <sanitizer/lsan_interface.h>
#endif

#include "base/directory.h"
#include "base/private_root.h"
#include "base/util.h"
#include "worker/sandbox_paths.h"

/* Of the root, which holds links and empty files, and of the directory of resolv.conf. */
#define ROOT_SIZE      "1m"
#define RESOLVER_SIZE  "256k"
#define RESOLVER_FILES "16"

#define NO_RIGHTS (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

/* What is missing on the machine is left out, and a link is copied. */
static const struct {
	const char *path;
	uint64_t attributes;
} places[] = {
	{ "/usr", NO_RIGHTS },
	{ "/lib", NO_RIGHTS },
	{ "/lib32", NO_RIGHTS },
	{ "/lib64", NO_RIGHTS },
	{ "/var/run", NO_RIGHTS }, /* a link */
	{ "/run/nscd", NO_RIGHTS },
	{ "/run/avahi-daemon", NO_RIGHTS },
	{ "/run/systemd/resolve", NO_RIGHTS },
	{ "/run/NetworkManager", NO_RIGHTS },
	{ "/run/resolvconf", NO_RIGHTS },
	{ "/run/connman", NO_RIGHTS },
	{ "/var/lib/sss", NO_RIGHTS },
	{ "/sys/devices/system/cpu", NO_RIGHTS },
	{ "/dev/null", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC },
	{ "/dev/random", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC },
	{ "/dev/urandom", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC },
	{ "/dev/log", NO_RIGHTS },
	{ "/run/systemd/journal/dev-log", NO_RIGHTS }, /* to which /dev/log may be a link */
};

/* Files that libraries read and that may be made later. */
static const char *const later[] = {
	"hosts",     "host.conf", "nsswitch.conf", "gai.conf", "services",
	"protocols", "localtime", "machine-id",	   "ssl",      "pki",
};

/* ---- making mounts ---- */

/* Returns a mount of a new file system that is attached nowhere. options: pairs of name and value,
 * NULL-terminated. */
static int make_mount(const char *type, const char *const *options, unsigned attributes,
		      struct err *err)
{
	_cleanup_close_ int context = fsopen(type, FSOPEN_CLOEXEC);

	if (context < 0)
		return err_errno(err, "%s", type);
	for (; *options; options += 2) {
		if (fsconfig(context, FSCONFIG_SET_STRING, options[0], options[1], 0) < 0)
			return err_errno(err, "%s: %s=%s", type, options[0], options[1]);
	}
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_errno(err, "%s", type);
	int mount = fsmount(context, FSMOUNT_CLOEXEC, attributes);
	return mount < 0 ? err_errno(err, "%s", type) : mount;
}

static int attach(int mount, int root, const char *path, struct err *err)
{
	if (move_mount(mount, "", root, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_errno(err, "attaching /%s", path);
	return 0;
}

/* ---- filling the root; paths are relative to it ---- */

static int make_directory(int root, const char *path, struct err *err)
{
	if (mkdirat(root, path, 0755) < 0 && errno != EEXIST)
		return err_errno(err, "making /%s", path);
	return 0;
}

/* Makes the directories above a path. */
static int make_parents(int root, const char *path, struct err *err)
{
	char parent[PATH_MAX];

	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		if (make_directory(root, parent, err) < 0)
			return -1;
	}
	return 0;
}

/* Something to attach a mount to. */
static int make_place(int root, const char *path, bool is_directory, struct err *err)
{
	if (make_parents(root, path, err) < 0)
		return -1;
	if (is_directory)
		return make_directory(root, path, err);
	_cleanup_close_ int file = openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	return file < 0 ? err_errno(err, "making /%s", path) : 0;
}

static int copy_link(int root, const char *path, const char *target, struct err *err)
{
	if (make_parents(root, path, err) < 0)
		return -1;
	if (symlinkat(target, root, path) < 0 && errno != EEXIST)
		return err_errno(err, "making /%s", path);
	return 0;
}

/* The machine's file or directory, at that path. mounts: AT_RECURSIVE for those below, or 0. */
static int clone_to(int root, const char *from, const char *to, int mounts, uint64_t attributes,
		    struct err *err)
{
	struct mount_attr attr = { .attr_set = attributes };
	struct stat st;
	_cleanup_close_ int mount = open_tree(AT_FDCWD, from,
					      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | mounts);

	if (mount < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES
			       ? 0
			       : err_errno(err, "%s", from);
	if (fstat(mount, &st) < 0 ||
	    mount_setattr(mount, "", AT_EMPTY_PATH | mounts, &attr, sizeof(attr)) < 0)
		return err_errno(err, "%s", from);
	if (make_place(root, to, S_ISDIR(st.st_mode), err) < 0)
		return -1;
	return attach(mount, root, to, err);
}

static int add_place(int root, const char *path, uint64_t attributes, struct err *err)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len < 0)
		return clone_to(root, path, path + 1, AT_RECURSIVE, attributes, err);
	target[len] = '\0';
	return copy_link(root, path + 1, target, err);
}

static int add_places(int root, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (add_place(root, places[i].path, places[i].attributes, err) < 0)
			return -1;
	}
	return 0;
}

/* As sandbox_paths_visit() calls it. */
static int add_named(void *arg, const char *path, bool is_writable, struct err *err)
{
	const int *root = arg;

	/* It is there, or it would be everything. */
	if (strncmp(path, "/usr/", 5) == 0 || strncmp(path, "/etc/", 5) == 0 || !path[1])
		return 0;
	return clone_to(*root, path, path + 1, 0,
			is_writable ? NO_RIGHTS & ~MOUNT_ATTR_RDONLY : NO_RIGHTS, err);
}

/* ---- /etc ---- */

struct names {
	int root;
	struct err *err;
};

/* As directory_list() calls it. */
static int link_name(void *arg, int etc, const char *name)
{
	const struct names *names = arg;
	char path[NAME_MAX + 8], target[NAME_MAX + sizeof(PRIVATE_ROOT_ETC) + 1];

	(void)etc;
	snprintf(path, sizeof(path), "etc/%s", name);
	snprintf(target, sizeof(target), PRIVATE_ROOT_ETC "/%s", name);
	return copy_link(names->root, path, target, names->err);
}

static int link_names(int root, struct err *err)
{
	struct names names = { root, err };

	if (copy_link(root, "etc/resolv.conf", PRIVATE_ROOT_RESOLVER "/resolv.conf", err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(later); i++) {
		if (link_name(&names, -1, later[i]) < 0)
			return -1;
	}
	if (directory_list(AT_FDCWD, "/etc", link_name, &names) == 0)
		return 0;
	return err->kind == ERR_NONE ? err_errno(err, "/etc") : -1;
}

static int add_resolver(int root, struct err *err)
{
	static const char *const options[] = { "mode",	    "700",	    "size", RESOLVER_SIZE,
					       "nr_inodes", RESOLVER_FILES, NULL };
	const char *path = PRIVATE_ROOT_RESOLVER + 1;
	_cleanup_close_ int mount = make_mount(
		"tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);

	if (mount < 0 || make_place(root, path, true, err) < 0)
		return -1;
	return attach(mount, root, path, err);
}

static int add_etc(int root, struct err *err)
{
	if (clone_to(root, "/etc", PRIVATE_ROOT_ETC + 1, AT_RECURSIVE, NO_RIGHTS, err) < 0 ||
	    add_resolver(root, err) < 0)
		return -1;
	return link_names(root, err);
}

/* ---- /proc ---- */

/* Processes that this one may not trace are not shown. */
static int add_proc(int root, struct err *err)
{
	static const char *const options[] = { "hidepid", "invisible", NULL };
	_cleanup_close_ int mount = make_mount("proc", options, NO_RIGHTS | MOUNT_ATTR_NOEXEC, err);

	if (mount < 0 || make_place(root, "proc", true, err) < 0)
		return -1;
	return attach(mount, root, "proc", err);
}

/* ---- the namespaces ---- */

static int change_root(int root, struct err *err)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };

	if (mount_setattr(root, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)) < 0)
		return err_errno(err, "making the root read-only");
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return err_errno(err, "changing the root");
	/* Now the old root lies over the new one. */
	if (umount2(".", MNT_DETACH) < 0)
		return err_errno(err, "detaching the old root");
	return 0;
}

static bool waits_for_daemon(const struct mntent *entry)
{
	const char *type = entry->mnt_type, *path = entry->mnt_dir;
	bool has_daemon = strncmp(type, "fuse", 4) == 0 || strcmp(type, "autofs") == 0;

	return has_daemon && (strncmp(path, "/usr/", 5) == 0 ||
			      strncmp(path, PRIVATE_ROOT_ETC "/", sizeof(PRIVATE_ROOT_ETC)) == 0);
}

/* Returns false if there is none. */
static bool find_daemon_mount(char ret[PATH_MAX])
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry = NULL;

	while (mounts && (entry = getmntent(mounts)) && !waits_for_daemon(entry))
		;
	if (entry)
		snprintf(ret, PATH_MAX, "%s", entry->mnt_dir);
	if (mounts)
		endmntent(mounts);
	return entry;
}

static int drop_daemon_mounts(struct err *err)
{
	char path[PATH_MAX];

	while (find_daemon_mount(path)) {
		if (umount2(path, MNT_DETACH) < 0)
			return err_errno(err, "detaching %s", path);
	}
	return 0;
}

static int build(int root, struct err *err)
{
	if (add_places(root, err) < 0 || sandbox_paths_visit(add_named, &root, err) < 0 ||
	    add_etc(root, err) < 0)
		return -1;
	return add_proc(root, err);
}

/* Whether "/" is a mount: in a chroot it need not be one. */
static int check_root(struct err *err)
{
	struct statx stx;

	if (statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx) < 0)
		return err_errno(err, "looking at the root");
	if (!(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return err_set(err, ERR_INTERNAL, "/ is not a mount, as in a chroot");
	return 0;
}

static int isolate(struct err *err)
{
	static const char *const options[] = { "mode", "755", "size", ROOT_SIZE, NULL };

	if (check_root(err) < 0)
		return -1;
	if (unshare(CLONE_NEWNS) < 0)
		return err_errno(err, "unshare");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_errno(err, "making the mounts private");
	_cleanup_close_ int root = make_mount(
		"tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);
	/* Absolute paths lead to the old root until the end. */
	if (root < 0 || attach(root, AT_FDCWD, "/", err) < 0 || build(root, err) < 0 ||
	    change_root(root, err) < 0)
		return -1;
	if (chdir("/") < 0)
		return err_errno(err, "chdir /");
	return drop_daemon_mounts(err);
}

/* ---- trying it ---- */

/* The child has no use for the rest of the process. */
__attribute__((noreturn)) static void try_and_exit(int report)
{
	struct err err = ERR_INIT;

	if (isolate(&err) == 0)
		_exit(0);
	_exit(write(report, err.msg, strlen(err.msg)) < 0 ? 2 : 1);
}

static int try_in_child(struct err *err)
{
	char reason[ERR_MSG_SIZE] = "";
	int pair[2], status = -1;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	_cleanup_close_ int reader = pair[0];
	_cleanup_close_ int writer = pair[1];
	pid_t pid = fork();
	if (pid < 0)
		return err_errno(err, "fork");
	if (pid == 0)
		try_and_exit(writer);
	if (waitpid(pid, &status, 0) < 0)
		return err_errno(err, "waitpid");
	if (status == 0)
		return 0;
	close(steal_fd(&writer));
	ssize_t len = read(reader, reason, sizeof(reason) - 1);
	return err_set(err, ERR_INTERNAL, "%.*s", len < 0 ? 0 : (int)len, reason);
}

int sandbox_change_root(struct err *err)
{
	if (try_in_child(err) < 0)
		return 1;
	return isolate(err);
}

int sandbox_leave_ipc(struct err *err)
{
	if (unshare(CLONE_NEWIPC) == 0)
		return 0;
	err_errno(err, "unshare");
	return 1;
}

#if defined(__SANITIZE_ADDRESS__)
/* LeakSanitizer looks for this process in /proc. Without a root of its own that is the /proc of
 * another PID namespace, and newer versions wait for ever. */
int __lsan_is_turned_off(void)
{
	char self[16] = "";

	return readlink("/proc/self", self, sizeof(self) - 1) < 0 || atoi(self) != getpid();
}
#endif
