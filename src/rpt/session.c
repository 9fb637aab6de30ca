#include "rpt/session.h"

#include <errno.h>
#include <mntent.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define CONTROL_XATTR "user.rpt.control"

/* An answer takes some times its length in memory, depending on what it consists of: an empty array
 * takes a hundred times its length, so brackets count more than commas. */
#define ANSWER_MAX	  (UINT64_C(1) << 30)
#define ANSWER_MAX_OTHERS (UINT64_C(16) << 20)
#define VALUES_MAX_OTHERS 1500000
#define BRACKET_VALUES	  16
#define RECEIVE_BYTES	  (UINT64_C(64) << 10)

struct session {
	int fd;		  /* owned */
	bool is_trusted;  /* the mount is root's, or of this user */
	size_t received;  /* bytes of the whole answer */
	size_t values;	  /* in it, roughly; not counted if trusted */
	char *buffer;	  /* owned; received and not returned yet */
	size_t len, size; /* of the buffer */
};

/* Enough for three long names. */
#define OTHERS_SIZE 256

/* "; rptfs is mounted at /a, /b: use -m DIR", or "" if it is mounted nowhere. Names for which there
 * is no space are replaced by "…". */
static const char *other_mounts(char ret[OTHERS_SIZE])
{
	static const char cut[] = ", …", remedy[] = ": use -m DIR";
	const size_t size = OTHERS_SIZE - strlen(cut) - strlen(remedy);
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	size_t used = 0;

	*ret = '\0';
	while (mounts && (entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_type, "fuse.rptfs") != 0)
			continue;
		int len = snprintf(ret + used, size - used, "%s%s",
				   used ? ", " : "; rptfs is mounted at ", entry->mnt_dir);
		if ((size_t)len >= size - used) {
			strcpy(ret + used, used ? cut : "; rptfs is mounted elsewhere");
			used = strlen(ret);
			break;
		}
		used += (size_t)len;
	}
	if (used)
		strcpy(ret + used, remedy);
	if (mounts)
		endmntent(mounts);
	return ret;
}

static int explain_xattr(const char *mount, struct err *err)
{
	char others[OTHERS_SIZE];

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
	struct ucred peer;
	socklen_t len = sizeof(peer);

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
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return err_errno(err, "%s", address.sun_path);
	session->is_trusted = peer.uid == 0 || peer.uid == geteuid();
	session->fd = steal_fd(&fd);
	*ret = steal_ptr(&session);
	return 0;
}

void session_free(struct session *session)
{
	if (!session)
		return;
	close(session->fd);
	free(session->buffer);
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
	int fd = session->fd;

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

static size_t count_values(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '{' || text[i] == '[')
			n += BRACKET_VALUES;
		else if (text[i] == ',')
			n++;
	}
	return n;
}

static int check_size(struct session *session, size_t n, struct err *err)
{
	uint64_t max_bytes = session->is_trusted ? ANSWER_MAX : ANSWER_MAX_OTHERS;

	if (!session->is_trusted)
		session->values += count_values(session->buffer + session->len, n);
	session->received += n;
	if (session->received > max_bytes || session->values > VALUES_MAX_OTHERS)
		return err_set(err, ERR_BAD_DATA, "the answer is too long%s",
			       session->is_trusted ? "" : " for a mount of another user");
	return 0;
}

/* Receives some bytes into the buffer. Returns their number, 0 at the end, or -1. */
static ssize_t receive(struct session *session, struct err *err)
{
	ssize_t n;

	if (session->size - session->len < RECEIVE_BYTES) {
		size_t size = 2 * session->size + RECEIVE_BYTES;
		char *larger = realloc(session->buffer, size);

		if (!larger)
			return err_set(err, ERR_INTERNAL, "answer: out of memory");
		session->buffer = larger;
		session->size = size;
	}
	do {
		n = recv(session->fd, session->buffer + session->len, RECEIVE_BYTES, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return err_set(err, ERR_UNREACHABLE, "rptfs does not answer");
	if (n < 0 && errno == ECONNRESET)
		n = 0;
	if (n < 0)
		return err_errno(err, "read the answer");
	if (check_size(session, (size_t)n, err) < 0)
		return -1;
	session->len += (size_t)n;
	return n;
}

/* Takes the first `len` bytes out of the buffer. The caller frees them. NULL: out of memory. */
static char *take(struct session *session, size_t len)
{
	if (len == session->len && len < session->size) {
		session->buffer[len] = '\0';
		session->len = session->size = 0;
		return steal_ptr(&session->buffer);
	}
	char *line = malloc(len + 1);
	if (!line)
		return NULL;
	memcpy(line, session->buffer, len);
	line[len] = '\0';
	session->len -= len;
	memmove(session->buffer, session->buffer + len, session->len);
	return line;
}

/* Reads a line with its newline, or what is left at the end; *ret_len is 0 if there is nothing. */
static int read_line(struct session *session, char **ret, size_t *ret_len, struct err *err)
{
	size_t searched = 0;
	ssize_t n = 1;
	char *end;

	while (!(end = searched < session->len
			       ? memchr(session->buffer + searched, '\n', session->len - searched)
			       : NULL)) {
		searched = session->len;
		n = receive(session, err);
		if (n < 0)
			return -1;
		if (n == 0)
			break;
	}
	*ret_len = end ? (size_t)(end - session->buffer) + 1 : session->len;
	*ret = *ret_len ? take(session, *ret_len) : NULL;
	return *ret_len && !*ret ? err_set(err, ERR_INTERNAL, "answer: out of memory") : 0;
}

enum session_result session_next(struct session *session, char **ret_line, json_t **ret_object,
				 struct err *err)
{
	_cleanup_free_ char *line = NULL;
	_cleanup_(json_decref_cleanup) json_t *object = NULL;
	const char *message;
	size_t len;

	if (read_line(session, &line, &len, err) < 0)
		return SESSION_FAILED;
	if (len == 0)
		return SESSION_END;
	object = json_loadb(line, len, 0, NULL);
	if (!object) {
		err_set(err, ERR_BAD_DATA, "the answer is incomplete or not JSON");
		return SESSION_FAILED;
	}
	*ret_line = steal_ptr(&line);
	if (json_unpack(object, "{s:{s:s}}", "error", "message", &message) == 0) {
		err_set(err, ERR_INTERNAL, "%s", message);
		return SESSION_REFUSED;
	}
	*ret_object = steal_ptr(&object);
	return SESSION_LINE;
}
