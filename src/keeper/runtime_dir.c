#include "keeper/runtime_dir.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/digest.h"
#include "base/util.h"
#include "config/config_name.h"

static int directory(char **ret, struct err *err)
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

/* Others may reach the socket, but not put one of theirs in its place. */
static int make_own(const char *dir, struct err *err)
{
	struct stat stat_buf;

	if (mkdir(dir, 0755) == 0) {
		if (chmod(dir, 0755) < 0) /* whatever the umask is */
			return err_errno(err, "control socket: chmod %s", dir);
	} else if (errno != EEXIST) {
		return err_errno(err, "control socket: mkdir %s", dir);
	}
	if (lstat(dir, &stat_buf) < 0)
		return err_errno(err, "control socket: %s", dir);
	if (!S_ISDIR(stat_buf.st_mode) || stat_buf.st_uid != geteuid() ||
	    (stat_buf.st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(err, ERR_CONFIG,
			       "control socket: %s must be a directory that only we can write to",
			       dir);
	return 0;
}

int runtime_dir_socket(const char *mountpoint, char **ret, struct err *err)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_free_ char *escaped = path_escape(mountpoint);
	_cleanup_free_ char *path = NULL;
	uint8_t digest[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];

	if (directory(&dir, err) < 0 || make_own(dir, err) < 0)
		return -1;
	if (!escaped || asprintf(&path, "%s/%s.sock", dir, escaped) < 0)
		return err_set(err, ERR_INTERNAL, "control socket: out of memory");
	/* The server binds a temporary name first, which is a little longer. */
	if (strlen(path) + 16 >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		free(steal_ptr(&path));
		if (digest_of(mountpoint, strlen(mountpoint), digest, err) < 0)
			return -1;
		if (asprintf(&path, "%s/%.16s.sock", dir, digest_hex(digest, hex)) < 0)
			return err_set(err, ERR_INTERNAL, "control socket: out of memory");
	}
	*ret = steal_ptr(&path);
	return 0;
}
