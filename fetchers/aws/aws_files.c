#include "fetchers/aws/aws_files.h"

#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/secret.h"
#include "base/util.h"
#include "fetchers/aws/aws_env.h"
#include "fetchers/shared/file_time.h"
#include "fetchers/shared/secret_file.h"

/* ---- paths ---- */

/* The caller frees *ret; it stays NULL if there is no home directory. */
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

/* Expands "~/". *ret stays NULL if there is no home directory. */
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

/* ---- stamps ---- */

/* Returns whether the file is so young that another write might leave the same stamp. */
static bool take_one(struct helper *helper, const char *path, int64_t now_ns,
		     struct aws_file_stamp *ret)
{
	struct err ignored = ERR_INIT;
	struct stat st;

	if (!path || files_stat(helper, path, &st, &ignored) < 0)
		return false;
	*ret = (struct aws_file_stamp){
		.dev = (uint64_t)st.st_dev,
		.ino = (uint64_t)st.st_ino,
		.size = (int64_t)st.st_size,
		.mtime_ns = file_time_ns(&st.st_mtim),
		.ctime_ns = file_time_ns(&st.st_ctim),
	};
	return file_time_is_young(ret->ctime_ns, now_ns);
}

void aws_stamp_take(struct helper *helper, const struct aws_paths *paths, struct aws_stamp *ret)
{
	int64_t now_ns = clock_wall_ns();

	*ret = (struct aws_stamp){ .is_young = false };
	ret->is_young |= take_one(helper, paths->credentials, now_ns, &ret->credentials);
	ret->is_young |= take_one(helper, paths->config, now_ns, &ret->config);
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

/* ---- tokens ---- */

int aws_token_read(struct helper *helper, const char *path, const char *what, char **ret,
		   struct err *err)
{
	_cleanup_secret_ char *text = NULL;

	if (secret_file_line(helper, path, what, &text, err) < 0)
		return -1;
	size_t len = strlen(text);
	while (len && strchr(" \t", text[len - 1]))
		text[--len] = '\0';
	if (!len)
		return err_set(err, ERR_DENIED, "%s: %s is empty", what, path);
	*ret = steal_ptr(&text);
	return 0;
}
