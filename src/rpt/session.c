#include "rpt/session.h"

#include <errno.h>
#include <mntent.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define CONTROL_XATTR "user.rpt.control"

struct session {
	FILE *in; /* owned; requests are sent over its descriptor, too */
};

/* "; rptfs is mounted at /a, /b: use -m DIR", or "" if it is mounted nowhere. */
static const char *other_mounts(char ret[256])
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	size_t used = 0;

	*ret = '\0';
	while (mounts && used < 200 && (entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_type, "fuse.rptfs") != 0)
			continue;
		snprintf(ret + used, 256 - used, "%s%.200s", used ? ", " : "; rptfs is mounted at ",
			 entry->mnt_dir);
		used = strlen(ret);
	}
	if (used)
		snprintf(ret + used, 256 - used, ": use -m DIR");
	if (mounts)
		endmntent(mounts);
	return ret;
}

static int explain_xattr(const char *mount, struct err *err)
{
	char others[256];

	switch (errno) {
	case ENODATA:
	case ENOTSUP:
	case ENOSYS:
		return err_set(err, ERR_NOT_FOUND, "%s is not an rptfs mount%s", mount,
			       other_mounts(others));
	case ENOTCONN:
	case ECONNABORTED:
		return err_set(err, ERR_UNREACHABLE,
			       "rptfs is not running: %s is the mount of one that ended; "
			       "\"umount %s\" removes it",
			       mount, mount);
	case EACCES:
	case EPERM:
		return err_set(err, ERR_DENIED,
			       "%s: permission denied; is it another user's mount without "
			       "allow_other?",
			       mount);
	case ENOENT:
	case ENOTDIR:
		return err_set(err, ERR_NOT_FOUND, "%s: no such directory%s", mount,
			       other_mounts(others));
	default:
		return err_errno(err, "%s", mount);
	}
}

static int explain_connect(const char *mount, const char *path, struct err *err)
{
	switch (errno) {
	case ENOENT:
	case ECONNREFUSED:
		return err_set(err, ERR_UNREACHABLE,
			       "rptfs is not running: no process answers for %s at %s", mount,
			       path);
	case EACCES:
	case EPERM:
		return err_set(err, ERR_DENIED, "%s: permission denied", path);
	case EAGAIN:
		return err_set(err, ERR_BUSY, "%s: too many clients are waiting", path);
	default:
		return err_errno(err, "connect to %s", path);
	}
}

int session_new(struct session **ret, const char *mount, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_free_ struct session *session = calloc(1, sizeof(*session));
	_cleanup_close_ int fd = -1;

	if (!session)
		return err_errno(err, "session");
	/* The value is not NUL-terminated; the last byte of the zeroed address is. */
	if (getxattr(mount, CONTROL_XATTR, address.sun_path, sizeof(address.sun_path) - 1) < 0)
		return explain_xattr(mount, err);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return explain_connect(mount, address.sun_path, err);
	session->in = fdopen(fd, "r");
	if (!session->in)
		return err_errno(err, "session");
	steal_fd(&fd);
	*ret = steal_ptr(&session);
	return 0;
}

void session_free(struct session *session)
{
	if (!session)
		return;
	fclose(session->in);
	free(session);
}

/* The part of path after dir, or NULL if path is not below dir. */
static const char *part_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	while (len > 0 && dir[len - 1] == '/')
		len--;
	if (strncmp(path, dir, len) != 0 || path[len] != '/')
		return NULL;
	path += len;
	return path + strspn(path, "/");
}

int session_term(const char *mount, const char *text, char **ret, struct err *err)
{
	const char *name = text;
	_cleanup_free_ char *real_mount = NULL;
	_cleanup_free_ char *real_path = NULL;

	if (*text == '/' || *text == '.') {
		name = part_below(text, mount);
		real_mount = name ? NULL : realpath(mount, NULL);
		if (real_mount)
			name = part_below(text, real_mount);
		real_path = name ? NULL : realpath(text, NULL);
		if (real_mount && real_path)
			name = part_below(real_path, real_mount);
		if (!name)
			return err_set(err, ERR_CONFIG, "%s is not below %s", text, mount);
	}
	*ret = strdup(name);
	if (!*ret)
		return err_errno(err, "%s", text);
	return 0;
}

int session_send(struct session *session, const json_t *request, bool waits, struct err *err)
{
	struct timeval limit = { .tv_sec = SESSION_ANSWER_S };
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	int fd = fileno(session->in);

	if (!text)
		return err_set(err, ERR_INTERNAL, "request: out of memory");
	size_t len = strlen(text), sent = 0;
	/* The newline replaces the NUL. */
	text[len++] = '\n';
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!waits)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	while (sent < len) {
		ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);

		if (n >= 0)
			sent += (size_t)n;
		else if (errno == EPIPE || errno == ECONNRESET)
			return 0; /* refused half-way: the answer has the reason */
		else if (errno != EINTR)
			return err_errno(err, "send the request");
	}
	return 0;
}

static enum session_result fail(struct err *err, enum err_kind kind, const char *what)
{
	err_set(err, kind, "%s", what);
	return SESSION_FAILED;
}

enum session_result session_next(struct session *session, char **ret_line, json_t **ret_object,
				 struct err *err)
{
	_cleanup_free_ char *line = NULL;
	_cleanup_(json_decref_cleanup) json_t *object = NULL;
	const char *message;
	size_t size = 0;

	errno = 0;
	ssize_t len = getline(&line, &size, session->in);
	if (len < 0 && errno == EAGAIN)
		return fail(err, ERR_UNREACHABLE, "rptfs does not answer");
	if (len < 0)
		return SESSION_END;
	object = json_loadb(line, (size_t)len, 0, NULL);
	if (!object)
		return fail(err, ERR_BAD_DATA, "the answer is incomplete or not JSON");
	*ret_line = steal_ptr(&line);
	if (json_unpack(object, "{s:{s:s}}", "error", "message", &message) == 0) {
		err_set(err, ERR_INTERNAL, "%s", message);
		return SESSION_REFUSED;
	}
	*ret_object = steal_ptr(&object);
	return SESSION_LINE;
}
