#include "keeper/store_directory.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/directory.h"
#include "base/log.h"
#include "base/util.h"

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

struct owner_change {
	uid_t user;
	gid_t group;
	uid_t from;
	dev_t device;
	int depth; /* at 0 only the names of a store; below, everything down to MAX_DEPTH */
	bool is_store;
	bool has_other;
};

static bool begins_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static int classify(void *arg, int dir_fd, const char *name)
{
	struct owner_change *change = arg;

	(void)dir_fd;
	if (strcmp(name, "lock") == 0 || begins_with(name, "catalog.db"))
		change->is_store = true;
	else if (strcmp(name, "lost+found") != 0)
		change->has_other = true;
	return 0;
}

static bool is_of_store(const char *name)
{
	return strcmp(name, "lock") == 0 || strcmp(name, "snapshots") == 0 ||
	       begins_with(name, "catalog.db") || begins_with(name, "aside-");
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

/*
 * Changes the owner of the store, as root. The present owner may be hostile. So each file is opened
 * first, without following links, and changed by descriptor. It must have a name that a store has,
 * be on the file system of the directory, and belong to the present owner (a hard link to another
 * user's file does not). The directory must be a store or empty (store = "/var/lib" is a mistake).
 * The directory itself is changed last, so that an interrupted change is repeated.
 */
static int change_owner(int fd, const char *dir, const struct stat *st, uid_t user, gid_t group,
			struct err *err)
{
	struct owner_change change = {
		.user = user,
		.group = group,
		.from = st->st_uid,
		.device = st->st_dev,
	};

	if (directory_list(fd, ".", classify, &change) < 0)
		return err_errno(err, "store %s", dir);
	if (change.has_other && !change.is_store)
		return err_set(err, ERR_CONFIG,
			       "store %s: belongs to user %u and is neither a store nor empty", dir,
			       (unsigned)st->st_uid);
	if (directory_list(fd, ".", change_one, &change) < 0 || fchown(fd, user, group) < 0)
		return err_errno(err, "store %s: changing its owner to user %u", dir,
				 (unsigned)user);
	if (change.is_store)
		log_event(LOG_LEVEL_INFO, "store_made_over", LOG_STR("store", dir),
			  LOG_INT("from", st->st_uid), LOG_INT("to", user));
	return 0;
}

int store_directory_make(const char *dir, uid_t user, gid_t group, struct err *err)
{
	_cleanup_close_ int fd = open_or_make(dir, err);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return err_errno(err, "store %s", dir);
	if (st.st_uid != user && geteuid() == 0 && change_owner(fd, dir, &st, user, group, err) < 0)
		return -1;
	return steal_fd(&fd);
}
