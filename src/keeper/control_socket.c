#include "keeper/control_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/digest.h"
#include "base/util.h"
#include "config/config_name.h"

#define BACKLOG 128

/* The socket is bound to this name first. */
#define NEW_SUFFIX ".new"

#define TEMPORARY "/tmp/rptfs-"

/* ------------------------------------------------------------------ its path */

/* Other users may reach the socket, but must not be able to replace it. */
static bool is_ours(const char *dir)
{
	struct stat st;

	return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

static int make_directory(const char *dir, struct err *err)
{
	if (mkdir(dir, 0755) == 0) {
		if (chmod(dir, 0755) < 0) /* regardless of the umask */
			return err_errno(err, "control socket: chmod %s", dir);
	} else if (errno != EEXIST) {
		return err_errno(err, "control socket: mkdir %s", dir);
	}
	return is_ours(dir) ? 0
			    : err_set(err, ERR_CONFIG,
				      "control socket: %s must be a directory that only this user "
				      "can write to",
				      dir);
}

/* A directory for this socket alone: in /tmp others could make any name that is known before. */
static int make_temporary(char **ret, struct err *err)
{
	_cleanup_free_ char *dir = strdup(TEMPORARY "XXXXXX");

	if (!dir)
		return err_set(err, ERR_INTERNAL, "control socket: out of memory");
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return err_errno(err, "control socket: %s", dir);
	*ret = steal_ptr(&dir);
	return 0;
}

/* The directory that the login manager makes for a user. Services have no XDG_RUNTIME_DIR. */
static int find_parent(char **ret)
{
	const char *named = getenv("XDG_RUNTIME_DIR");
	bool is_named = named && *named == '/';
	_cleanup_free_ char *dir = NULL;
	int len = is_named ? asprintf(&dir, "%s", named)
			   : asprintf(&dir, "/run/user/%u", (unsigned)geteuid());

	if (len < 0) {
		dir = NULL;
		return -1;
	}
	if (!is_named && !is_ours(dir))
		return -1;
	*ret = steal_ptr(&dir);
	return 0;
}

/* *ret is NULL if this user has no directory for sockets. */
static int find_directory(char **ret, struct err *err)
{
	_cleanup_free_ char *parent = NULL;

	*ret = NULL;
	if (geteuid() != 0 && find_parent(&parent) < 0)
		return 0;
	if (asprintf(ret, "%s/rptfs", parent ? parent : "/run") < 0) {
		*ret = NULL;
		return err_set(err, ERR_INTERNAL, "control socket: out of memory");
	}
	return 0;
}

/* The path of the socket in that directory. */
static int path_in(const char *dir, const char *mountpoint, char **ret, struct err *err)
{
	_cleanup_free_ char *escaped = path_escape(mountpoint);
	_cleanup_free_ char *path = NULL;
	uint8_t digest[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];

	if (!escaped || asprintf(&path, "%s/%s.sock", dir, escaped) < 0)
		return err_set(err, ERR_INTERNAL, "control socket: out of memory");
	if (strlen(path) + strlen(NEW_SUFFIX) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		free(steal_ptr(&path));
		if (digest_of(mountpoint, strlen(mountpoint), digest, err) < 0)
			return -1;
		if (asprintf(&path, "%s/%.16s.sock", dir, digest_hex(digest, hex)) < 0)
			return err_set(err, ERR_INTERNAL, "control socket: out of memory");
	}
	*ret = steal_ptr(&path);
	return 0;
}

int control_socket_path(const char *mountpoint, char **ret, struct err *err)
{
	_cleanup_free_ char *dir = NULL;

	if (find_directory(&dir, err) < 0 ||
	    (dir ? make_directory(dir, err) : make_temporary(&dir, err)) < 0)
		return -1;
	return path_in(dir, mountpoint, ret, err);
}

/* ------------------------------------------------------------------ listening */

int control_socket_listen(const char *path, bool allow_other, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s" NEW_SUFFIX, path);

	if (len < 0 || (size_t)len >= sizeof(address.sun_path))
		return err_set(err, ERR_CONFIG, "control socket %s: path longer than %zu bytes",
			       path, sizeof(address.sun_path) - sizeof(NEW_SUFFIX));
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	if (unlink(address.sun_path) < 0 && errno != ENOENT)
		return err_errno(err, "unlink %s", address.sun_path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return err_errno(err, "bind %s", address.sun_path);
	if (chmod(address.sun_path, allow_other ? 0666 : 0600) < 0 || listen(fd, BACKLOG) < 0 ||
	    rename(address.sun_path, path) < 0) {
		err_errno(err, "control socket %s", path);
		unlink(address.sun_path);
		return -1;
	}
	return steal_fd(&fd);
}

/* ------------------------------------------------------------------ who listens */

void control_socket_claim(int fd)
{
	listen(fd, BACKLOG);
}

/* Returns the process that listens there; 0: none that is visible. */
static pid_t listener_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct ucred peer = { .pid = 0 };
	socklen_t size = sizeof(peer);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >=
	    (int)sizeof(address.sun_path))
		return 0;
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return 0;
	return peer.pid;
}

pid_t control_socket_owner(const char *mountpoint)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_free_ char *path = NULL;
	struct err err = ERR_INIT;

	if (find_directory(&dir, &err) < 0 || !dir || path_in(dir, mountpoint, &path, &err) < 0)
		return 0;
	return listener_at(path);
}

void control_socket_remove(const char *path)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL;
	pid_t owner = listener_at(path);

	if (owner && owner != getpid())
		return;
	unlink(path);
	if (!slash || strncmp(path, TEMPORARY, strlen(TEMPORARY)) != 0)
		return;
	*slash = '\0';
	rmdir(dir);
}
