#include "keeper/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/util.h"

#define BACKLOG 128

/* Binds to a name beside the path, and renames it there once it can be connected to. */
int listener_new(const char *path, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s.new", path);

	if (len < 0 || (size_t)len >= sizeof(address.sun_path))
		return err_set(err, ERR_CONFIG, "control socket %s: path longer than %zu bytes",
			       path, sizeof(address.sun_path) - sizeof(".new"));
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	if (unlink(address.sun_path) < 0 && errno != ENOENT)
		return err_errno(err, "unlink %s", address.sun_path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return err_errno(err, "bind %s", address.sun_path);
	if (chmod(address.sun_path, 0666) < 0 || listen(fd, BACKLOG) < 0 ||
	    rename(address.sun_path, path) < 0) {
		err_errno(err, "control socket %s", path);
		unlink(address.sun_path);
		return -1;
	}
	return steal_fd(&fd);
}
