#include "keeper/control_socket.h"

#include <errno.h>
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

/* ------------------------------------------------------------------ its path */

static int choose_directory(char **ret, struct err *err)
{
	const char *user_dir = getenv("XDG_RUNTIME_DIR");
	int result;

	if (geteuid() == 0)
		result = asprintf(ret, "/run/rptfs");
	else if (user_dir && *user_dir == '/')
		result = asprintf(ret, "%s/rptfs", user_dir);
	else
		result = asprintf(ret, "/tmp/rptfs-%u", (unsigned)geteuid());
	return result < 0 ? err_set(err, ERR_INTERNAL, "control socket: out of memory") : 0;
}

/* Other users may reach the socket, but must not be able to replace it. */
static int make_directory(const char *dir, struct err *err)
{
	struct stat st;

	if (mkdir(dir, 0755) == 0) {
		if (chmod(dir, 0755) < 0) /* regardless of the umask */
			return err_errno(err, "control socket: chmod %s", dir);
	} else if (errno != EEXIST) {
		return err_errno(err, "control socket: mkdir %s", dir);
	}
	if (lstat(dir, &st) < 0)
		return err_errno(err, "control socket: %s", dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(
			err, ERR_CONFIG,
			"control socket: %s must be a directory that only this user can write to",
			dir);
	return 0;
}

int control_socket_path(const char *mountpoint, char **ret, struct err *err)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_free_ char *escaped = path_escape(mountpoint);
	_cleanup_free_ char *path = NULL;
	uint8_t digest[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];

	if (choose_directory(&dir, err) < 0 || make_directory(dir, err) < 0)
		return -1;
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
	_cleanup_free_ char *path = NULL;
	struct err err = ERR_INIT;

	return control_socket_path(mountpoint, &path, &err) < 0 ? 0 : listener_at(path);
}

void control_socket_remove(const char *path)
{
	pid_t owner = listener_at(path);

	if (!owner || owner == getpid())
		unlink(path);
}
