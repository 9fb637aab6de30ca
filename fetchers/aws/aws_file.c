#include "fetchers/aws/aws_file.h"

#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/read.h"
#include "base/secret.h"
#include "base/files.h"

/* The coarsest that Linux keeps file times with. */
#define TICK_NS	  INT64_C(10000000)
#define TOKEN_MAX 16384

const char *aws_env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* ---- where ---- */

/* *ret is the caller's, NULL if there is no home directory. */
static int home(char **ret, struct err *err)
{
	const char *dir = aws_env("HOME");
	char buffer[4096];
	struct passwd entry, *found = NULL;

	if (!dir && getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found)
		dir = entry.pw_dir;
	if (!dir)
		return 0;
	*ret = strdup(dir);
	return *ret ? 0 : err_set(err, ERR_INTERNAL, "credentials: out of memory");
}

/* *ret stays NULL if the path is in a home directory that there is not. */
static int expand(const char *path, char **ret, struct err *err)
{
	_cleanup_free_ char *dir = NULL;

	if (strncmp(path, "~/", 2) == 0) {
		if (home(&dir, err) < 0)
			return -1;
		if (!dir)
			return 0;
		path++;
	}
	if (asprintf(ret, "%s%s", dir ? dir : "", path) < 0) {
		*ret = NULL;
		return err_set(err, ERR_INTERNAL, "credentials: out of memory");
	}
	return 0;
}

int aws_paths_init(struct aws_paths *ret, const char *credentials_file, struct err *err)
{
	_cleanup_(aws_paths_release) struct aws_paths paths = { .config = NULL };
	const char *credentials = aws_env("AWS_SHARED_CREDENTIALS_FILE");
	const char *config = aws_env("AWS_CONFIG_FILE");

	if (credentials_file) {
		if (expand(credentials_file, &paths.credentials, err) < 0)
			return -1;
	} else if (expand(credentials ? credentials : "~/.aws/credentials", &paths.credentials,
			  err) < 0 ||
		   expand(config ? config : "~/.aws/config", &paths.config, err) < 0) {
		return -1;
	}
	ret->credentials = steal_ptr(&paths.credentials);
	ret->config = steal_ptr(&paths.config);
	return 0;
}

void aws_paths_release(struct aws_paths *paths)
{
	free(steal_ptr(&paths->credentials));
	free(steal_ptr(&paths->config));
}

/* ---- whether it has changed ---- */

static int64_t to_ns(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * NS_PER_S + ts->tv_nsec;
}

static bool take_one(const char *path, int64_t now_ns, struct aws_file_stamp *ret)
{
	struct err ignored = ERR_INIT;
	struct stat st;

	if (!path || files_stat(path, &st, &ignored) < 0)
		return false;
	*ret = (struct aws_file_stamp){
		.dev = (uint64_t)st.st_dev,
		.ino = (uint64_t)st.st_ino,
		.size = (int64_t)st.st_size,
		.mtime_ns = to_ns(&st.st_mtim),
		.ctime_ns = to_ns(&st.st_ctim),
	};
	return ret->ctime_ns > now_ns - TICK_NS && ret->ctime_ns < now_ns + TICK_NS;
}

void aws_stamp_take(const struct aws_paths *paths, struct aws_stamp *ret)
{
	int64_t now_ns = clock_wall_ns();

	*ret = (struct aws_stamp){ .is_young = false };
	ret->is_young |= take_one(paths->credentials, now_ns, &ret->credentials);
	ret->is_young |= take_one(paths->config, now_ns, &ret->config);
}

static bool is_same(const struct aws_file_stamp *a, const struct aws_file_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

bool aws_stamp_is_same(const struct aws_stamp *then, const struct aws_stamp *now)
{
	return !then->is_young && is_same(&then->credentials, &now->credentials) &&
	       is_same(&then->config, &now->config);
}

/* ---- what is in it ---- */

static int fail(const char *path, struct err *err)
{
	err_errno(err, "%s", path);
	err->kind = ERR_DENIED;
	return -1;
}

int aws_file_read(const char *path, size_t max_bytes, char **ret, size_t *ret_len, struct err *err)
{
	_cleanup_close_ int fd = files_open(path, err);
	_cleanup_secret_ char *text = NULL;
	struct stat st;

	if (fd < 0) {
		if (err->kind == ERR_BAD_DATA)
			err->kind = ERR_DENIED;
		return -1;
	}
	if (fstat(fd, &st) < 0)
		return fail(path, err);
	size_t size = S_ISREG(st.st_mode) ? (size_t)st.st_size : max_bytes;
	if (size > max_bytes)
		return err_set(err, ERR_DENIED, "%s: more than %zu bytes", path, max_bytes);
	text = secret_new(size + 1);
	if (!text)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", path);
	ssize_t len = read_full(fd, text, size);
	if (len < 0)
		return fail(path, err);
	if (memchr(text, '\0', (size_t)len))
		return err_set(err, ERR_DENIED, "%s: not a text file", path);
	*ret_len = (size_t)len;
	*ret = steal_ptr(&text);
	return 0;
}

int aws_file_token(const char *path, const char *what, char **ret, struct err *err)
{
	_cleanup_secret_ char *text = NULL;
	size_t len;

	if (aws_file_read(path, TOKEN_MAX, &text, &len, err) < 0) {
		if (err->kind == ERR_NOT_FOUND)
			err->kind = ERR_DENIED;
		return err_prefix(err, "%s", what);
	}
	while (len && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return err_set(err, ERR_DENIED, "%s: %s holds more than one line", what,
				       path);
	}
	if (!len)
		return err_set(err, ERR_DENIED, "%s: %s is empty", what, path);
	*ret = steal_ptr(&text);
	return 0;
}
