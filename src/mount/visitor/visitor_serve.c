/*
 * The visitor's process: executes one request after the other.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/visitor/visitor.h"
#include "mount/visitor/visitor_protocol.h"

/* Returns a descriptor for the caller, or a negative errno. */
static int open_directory(int at, const char *name, int flags)
{
	int fd = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC | flags);

	return fd < 0 ? -errno : fd;
}

/* A component that stays in the directory. */
static bool is_plain(const char *name)
{
	return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Opens the directory of the path, which is cut into its components. Returns a descriptor for the
 * caller, or a negative errno. Without openat2(2), which some service managers forbid because they
 * cannot filter its arguments. */
static int open_parent(int root, char *path, const char **ret_name)
{
	_cleanup_close_ int dir = open_directory(root, ".", 0);
	char *slash;

	for (; dir >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
		*slash = '\0';
		int below = is_plain(path) ? open_directory(dir, path, O_NOFOLLOW) : -EINVAL;
		close(dir);
		dir = below;
	}
	*ret_name = path;
	if (dir >= 0 && !is_plain(path))
		return -EINVAL;
	return dir < 0 ? dir : steal_fd(&dir);
}

static int negative(int result)
{
	return result < 0 ? -errno : 0;
}

static int look_in(int dir, const char *name)
{
	struct stat stat;

	return negative(fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT));
}

static int look(int root, char *path)
{
	const char *name;
	_cleanup_close_ int dir = open_parent(root, path, &name);

	return dir < 0 ? dir : look_in(dir, name);
}

static int move(int root, char *from, char *to)
{
	const char *from_name, *to_name;
	_cleanup_close_ int from_dir = open_parent(root, from, &from_name);
	_cleanup_close_ int to_dir = open_parent(root, to, &to_name);

	if (from_dir < 0 || to_dir < 0)
		return from_dir < 0 ? from_dir : to_dir;
	if (renameat(from_dir, from_name, to_dir, to_name) < 0)
		return -errno;
	look_in(to_dir, to_name); /* its result does not matter: the name has moved */
	return 0;
}

static int remove_name(int root, char *path)
{
	const char *name;
	_cleanup_close_ int dir = open_parent(root, path, &name);

	return dir < 0 ? dir : negative(unlinkat(dir, name, 0));
}

static bool identify(int dir, const char *name, struct statx *ret)
{
	return statx(dir, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		     STATX_TYPE | STATX_MNT_ID, ret) == 0;
}

static bool is_same_mount(const struct statx *a, const struct statx *b)
{
	return a->stx_mnt_id == b->stx_mnt_id && a->stx_dev_major == b->stx_dev_major &&
	       a->stx_dev_minor == b->stx_dev_minor;
}

/* The handle is a mount of its own, which has nothing mounted on it. */
static int check(const char *mountpoint, char *path)
{
	const char *name;
	_cleanup_close_ int root = open_directory(AT_FDCWD, mountpoint, 0);
	_cleanup_close_ int dir = root < 0 ? -1 : open_parent(root, path, &name);
	struct statx of_root, of_dir, of_name;

	if (dir < 0 || !identify(root, "", &of_root) || !identify(dir, "", &of_dir) ||
	    !identify(dir, name, &of_name) || !is_same_mount(&of_root, &of_dir))
		return 0;
	return is_same_mount(&of_dir, &of_name) ? 0 : -EBUSY;
}

/* The kernel requests as many entries at once as the buffer holds. */
#define LIST_CHUNK_BYTES (1U << 20)

/* "" is the root. */
static int list_directory(int root, char *path)
{
	static char entries[LIST_CHUNK_BYTES];
	const char *name = ".";
	_cleanup_close_ int parent = *path ? open_parent(root, path, &name)
					   : open_directory(root, ".", 0);
	if (parent < 0)
		return parent;
	_cleanup_close_ int dir = openat(parent, name,
					 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	size_t listed = 0;
	ssize_t got = 1;

	if (dir < 0)
		return -errno;
	while (got > 0 && listed < VISITOR_LIST_MAX_BYTES) {
		got = getdents64(dir, entries, sizeof(entries));
		listed += got > 0 ? (size_t)got : 0;
	}
	return negative((int)got);
}

static int perform(int root, struct visitor_request *request, bool is_writable)
{
	char *to = request->paths + strlen(request->paths) + 1;

	switch (request->verb) {
	case VISITOR_LOOK:
		return look(root, request->paths);
	case VISITOR_MOVE:
		return is_writable ? move(root, request->paths, to) : -EROFS;
	case VISITOR_REMOVE:
		return is_writable ? remove_name(root, request->paths) : -EROFS;
	case VISITOR_LIST:
		return list_directory(root, request->paths);
	default:
		return -EINVAL;
	}
}

/* The mount point is closed again before the reply. */
static int perform_at(int handle, const char *mountpoint, struct visitor_request *request)
{
	if (request->verb == VISITOR_CHECK)
		return check(mountpoint, request->paths);
	if (handle >= 0)
		return perform(handle, request, true);
	if (handle == VISITOR_NO_MOUNT)
		return -ENODEV;
	_cleanup_close_ int opened = open_directory(AT_FDCWD, mountpoint, 0);
	return opened < 0 ? opened : perform(opened, request, false);
}

/* Does it hold two complete strings? */
static bool is_complete(const struct visitor_request *request, size_t len)
{
	const size_t head = offsetof(struct visitor_request, paths);

	if (len <= head || request->paths[len - head - 1] != '\0')
		return false;
	return strlen(request->paths) + 1 < len - head;
}

int visitor_serve(int socket, int root, const char *mountpoint)
{
	_cleanup_close_ int peer = socket;
	_cleanup_close_ int handle = root;
	static struct visitor_request request;
	ssize_t len;

	while ((len = recv(peer, &request, sizeof(request), 0)) > 0) {
		visitor_reply reply = -EINVAL;

		if (is_complete(&request, (size_t)len))
			reply = perform_at(handle, mountpoint, &request);
		if (send(peer, &reply, sizeof(reply), MSG_NOSIGNAL) < 0)
			break;
	}
	return 0;
}
