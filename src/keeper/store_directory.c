#include "keeper/store_directory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/directory.h"
#include "base/file_lock.h"
#include "base/log.h"
#include "base/util.h"
#include "store/store.h"

static void sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = slash ? strndup(path, (size_t)(slash - path) + 1)
					    : strdup(".");
	_cleanup_close_ int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	/* Best effort: a directory may be writable but not readable. */
	if (fd >= 0)
		fsync(fd);
}

/* Makes the missing parts of the path. */
static int make_path(const char *dir, struct err *err)
{
	_cleanup_free_ char *path = strdup(dir);

	if (!path)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", dir);
	for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	for (char *slash = path; slash;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(path, slash ? 0755 : 0700) == 0)
			sync_parent(path);
		else if (errno != EEXIST)
			return err_errno(err, "store %s: making %s", dir, path);
		if (slash)
			*slash = '/';
	}
	return 0;
}

static int open_or_make(const char *dir, struct err *err)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	int fd = open(dir, flags);

	if (fd < 0 && errno == ENOENT) {
		if (make_path(dir, err) < 0)
			return -1;
		fd = open(dir, flags);
	}
	if (fd < 0)
		return err_errno(err, "store %s", dir);
	return fd;
}

#define MAX_DEPTH 4 /* aside-TIME/snapshots/XX/ID */

/* How long the store may be in use when its owner is to be changed: a process that was killed a
 * moment ago may not have ended yet. */
#define IN_USE_MAX_MS 2000

struct content {
	bool has_own; /* names of a store */
	bool has_other;
};

struct owner_change {
	uid_t user;
	gid_t group;
	uid_t from;
	dev_t device;
	int depth; /* at 0 only the names of a store; below, everything down to MAX_DEPTH */
};

static bool begins_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_of_store(const char *name)
{
	return strcmp(name, "lock") == 0 || strcmp(name, "snapshots") == 0 ||
	       begins_with(name, "catalog.db") || begins_with(name, "aside-");
}

static int classify(void *arg, int dir_fd, const char *name)
{
	struct content *content = arg;

	(void)dir_fd;
	if (is_of_store(name))
		content->has_own = true;
	else if (strcmp(name, "lost+found") != 0)
		content->has_other = true;
	return 0;
}

static bool is_root_directory(const struct stat *st)
{
	struct stat root;

	return stat("/", &root) == 0 && root.st_dev == st->st_dev && root.st_ino == st->st_ino;
}

static bool is_mount_root(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH, 0, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* Is it like /tmp? An empty mount is not: a tmpfs made for the store has that mode by default.
 * Earlier versions made stores in such directories, which are kept: the owner of the directory has
 * made the catalog, not another user. */
static bool is_shared(int fd, const struct stat *st, const struct content *content, bool is_store)
{
	const mode_t shared = S_ISVTX | S_IWOTH;
	struct stat catalog;

	if ((st->st_mode & shared) != shared)
		return false;
	if (!content->has_own && !content->has_other && is_mount_root(fd))
		return false;
	return !is_store || fstatat(fd, "catalog.db", &catalog, AT_SYMLINK_NOFOLLOW) < 0 ||
	       catalog.st_uid != st->st_uid;
}

/*
 * store = "/var/lib" is a mistake, so what is not empty must have a catalog. Without one, names of
 * a store are what a first start left that was interrupted; but then they belong to the user.
 */
static int check_content(int fd, const char *dir, const struct stat *st, bool is_made_over,
			 struct err *err)
{
	static const char remedy[] = "a store needs a directory of its own, such as "
				     "/var/lib/rptfs/store";
	struct content content = { 0 };
	bool is_store;

	if (is_root_directory(st))
		return err_set(err, ERR_CONFIG, "store %s: it is the root directory: %s", dir,
			       remedy);
	if (directory_list(fd, ".", classify, &content) < 0)
		return err_errno(err, "store %s", dir);
	if (store_find(fd, dir, &is_store, err) < 0)
		return -1;
	if (is_shared(fd, st, &content, is_store))
		return err_set(err, ERR_CONFIG, "store %s: all users share the directory: %s", dir,
			       remedy);
	if (!is_store && (content.has_other || (content.has_own && is_made_over)))
		return err_set(err, ERR_CONFIG,
			       "store %s: the directory is neither a store nor empty: %s", dir,
			       remedy);
	return 0;
}

static int change_one(void *arg, int dir_fd, const char *name)
{
	struct owner_change *change = arg;
	_cleanup_close_ int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (change->depth == 0 && !is_of_store(name))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT ? 0 : -1;
	if (st.st_dev != change->device || st.st_uid != change->from)
		return 0;
	if (S_ISDIR(st.st_mode) && change->depth < MAX_DEPTH) {
		change->depth++;
		int result = directory_list(fd, ".", change_one, change);
		change->depth--;
		if (result < 0)
			return -1;
	}
	return fchownat(fd, "", change->user, change->group, AT_EMPTY_PATH);
}

/* Keeps every process from using the store until *ret_lock is closed, which is the caller's; -1 if
 * the store was never used. */
static int exclude_users(int fd, const char *dir, int *ret_lock, struct err *err)
{
	_cleanup_close_ int lock = openat(fd, "lock",
					  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (lock < 0 && errno != ENOENT)
		return err_errno(err, "store %s: lock", dir);
	if (lock >= 0 && file_lock_wait(lock, LOCK_SH, IN_USE_MAX_MS) < 0)
		return errno == EWOULDBLOCK
			       ? err_set(err, ERR_CONFIG,
					 "store %s: its owner cannot be changed while it is used",
					 dir)
			       : err_errno(err, "store %s: lock", dir);
	*ret_lock = steal_fd(&lock);
	return 0;
}

/*
 * Changes the owner of the store, as root. The present owner may be hostile. So each file is opened
 * first, without following links, and changed by descriptor. It must have a name that a store has,
 * be on the file system of the directory, and belong to the present owner (a hard link to another
 * user's file does not). The directory itself is changed last, so that an interrupted change is
 * repeated.
 */
static int change_owner(int fd, const char *dir, const struct stat *st, uid_t user, gid_t group,
			struct err *err)
{
	_cleanup_close_ int lock = -1;
	struct owner_change change = {
		.user = user,
		.group = group,
		.from = st->st_uid,
		.device = st->st_dev,
	};

	if (exclude_users(fd, dir, &lock, err) < 0)
		return -1;
	if (directory_list(fd, ".", change_one, &change) < 0 || fchown(fd, user, group) < 0)
		return err_errno(err, "store %s: changing its owner to user %u", dir,
				 (unsigned)user);
	if (lock >= 0)
		log_event(LOG_LEVEL_INFO, "store_made_over", LOG_STR("store", dir),
			  LOG_INT("from", st->st_uid), LOG_INT("to", user));
	return 0;
}

/* Returns the directory through a mount of its own, which is attached nowhere: nothing in it can be
 * executed or leads elsewhere. Without the right to mount: the directory itself. Takes fd. */
static int isolate(int fd)
{
	_cleanup_close_ int directory = fd;
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    MOUNT_ATTR_NOSYMFOLLOW,
	};
	_cleanup_close_ int mount = open_tree(
		directory, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (mount < 0 ||
	    mount_setattr(mount, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return steal_fd(&directory);
	return steal_fd(&mount);
}

int store_directory_make(const char *dir, uid_t user, gid_t group, struct err *err)
{
	_cleanup_close_ int fd = open_or_make(dir, err);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return err_errno(err, "store %s", dir);
	bool is_made_over = st.st_uid != user && geteuid() == 0;
	if (check_content(fd, dir, &st, is_made_over, err) < 0 ||
	    (is_made_over && change_owner(fd, dir, &st, user, group, err) < 0))
		return -1;
	return isolate(steal_fd(&fd));
}

int store_directory_check(const char *dir, struct err *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == EACCES))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "store %s", dir);
	return check_content(fd, dir, &st, false, err);
}
