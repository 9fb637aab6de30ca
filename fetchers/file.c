/*
 * file: a local file.
 *
 *	file { path = "/etc/motd" }
 *
 * The token consists of size, mtime, ctime and inode number. It changes when the file is replaced
 * or written to, even if its mtime is set back afterwards. If the mtime lies within the last tick
 * of the clock, another write might change none of these. The token then gets a suffix that never
 * matches, so that the file is read once more the next time.
 *
 * A download fails if the file changes while it is read. Files of /proc and /sys have no true size:
 * they are read to their end.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/hex.h"
#include "base/util.h"
#include "fetchers/registry.h"
#include "fetchers/shared/file_time.h"
#include "fetchers/shared/option_check.h"

#define BUFFER_BYTES 131072
#define SIZE_UNKNOWN UINT64_MAX

struct file_options {
	const char *path;
};

static int check_file_path(const char *path, struct err *err)
{
	if (check_path(path, err) < 0)
		return -1;
	if (path[strlen(path) - 1] == '/')
		return err_set(err, ERR_CONFIG, "\"%s\" is a directory", path);
	return 0;
}

static const struct option_spec rows[] = {
	{ .name = "path",
	  .type = OPTION_STRING,
	  OPTION_FIELD(file_options, path),
	  .role = OPTION_IDENTITY,
	  .required = true,
	  .names_file = true,
	  .check = check_file_path,
	  .help = "absolute path of a regular file" },
	{ .name = NULL },
};

static const struct option_table file_table = OPTION_TABLE(rows, file_options);

struct file {
	const char *path; /* borrowed from the options */
};

static int file_init(void **ret_state, const void *options, struct helper *helper, struct err *err)
{
	const struct file_options *given = options;
	struct file *file = malloc(sizeof(*file));

	(void)helper;
	if (!file)
		return err_set(err, ERR_CONFIG, "path: out of memory");
	file->path = given->path;
	*ret_state = file;
	return 0;
}

static const char *file_path(void *state)
{
	return ((const struct file *)state)->path;
}

static int check_type(const struct file *file, mode_t mode, struct err *err)
{
	const char *type = S_ISDIR(mode)    ? "a directory"
			   : S_ISFIFO(mode) ? "a FIFO"
			   : S_ISSOCK(mode) ? "a socket"
					    : "a device";

	if (S_ISREG(mode))
		return 0;
	return err_set(err, ERR_BAD_DATA, "%s is %s, not a regular file", file->path, type);
}

static void make_token(const struct stat *st, struct version *ret)
{
	snprintf(ret->token, sizeof(ret->token),
		 "%" PRId64 "-%" PRId64 ".%09ld-%" PRIx64 "-%" PRIx64, (int64_t)st->st_size,
		 (int64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
		 (uint64_t)file_time_ns(&st->st_ctim), (uint64_t)st->st_ino);
}

/* looked_at_ns is a time before the first byte was read. */
static void describe_content(const struct stat *st, int64_t looked_at_ns, struct fetched *ret)
{
	make_token(st, &ret->version);
	if (file_time_is_young(file_time_ns(&st->st_mtim), looked_at_ns)) {
		size_t used = strlen(ret->version.token);
		snprintf(ret->version.token + used, sizeof(ret->version.token) - used, "-%" PRIx64,
			 (uint64_t)looked_at_ns);
	}
	ret->last_modified = st->st_mtim;
}

/* A change of ctime alone is harmless if only the number of links changed. The kernel updates the
 * two at different moments, so a file without any link counts as unchanged too. */
static bool has_changed(const struct stat *before, const struct stat *after)
{
	return before->st_size != after->st_size ||
	       !file_time_is_same(&before->st_mtim, &after->st_mtim) ||
	       (!file_time_is_same(&before->st_ctim, &after->st_ctim) &&
		before->st_nlink == after->st_nlink && after->st_nlink > 0);
}

static bool has_size(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 || (fs.f_type != PROC_SUPER_MAGIC && fs.f_type != SYSFS_MAGIC);
}

/* size_bytes: SIZE_UNKNOWN: to the end. */
static int copy(const struct file *file, int fd, uint64_t size_bytes, struct fetch_ctx *ctx,
		struct sink *sink, struct err *err)
{
	_cleanup_free_ char *buffer = malloc(BUFFER_BYTES);

	if (!buffer)
		return err_set(err, ERR_INTERNAL, "reading %s: out of memory", file->path);
	while (size_bytes > 0) {
		size_t want = size_bytes < BUFFER_BYTES ? size_bytes : BUFFER_BYTES;
		if (cancel_requested(ctx->cancel))
			return err_set(err, ERR_CANCELED, "reading %s: canceled", file->path);
		ssize_t got = read(fd, buffer, want);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, "reading %s", file->path);
		if (got == 0 && size_bytes == SIZE_UNKNOWN)
			return 0;
		if (got == 0)
			return err_set(err, ERR_BUSY, "%s was truncated while it was read",
				       file->path);
		if (sink_write(sink, buffer, (size_t)got, err) < 0)
			return -1;
		if (size_bytes != SIZE_UNKNOWN)
			size_bytes -= (uint64_t)got;
	}
	return 0;
}

static int download(const struct file *file, struct fetch_ctx *ctx, struct sink *sink,
		    struct fetched *ret, struct err *err)
{
	struct stat before, after;
	_cleanup_close_ int fd = files_open(ctx->helper, file->path, err);

	if (fd < 0)
		return -1;
	int64_t looked_at_ns = clock_wall_ns();
	if (fstat(fd, &before) < 0)
		return err_errno(err, "looking at %s", file->path);
	if (check_type(file, before.st_mode, err) < 0)
		return -1;
	describe_content(&before, looked_at_ns, ret);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	uint64_t size_bytes = has_size(fd) ? (uint64_t)before.st_size : SIZE_UNKNOWN;
	if ((size_bytes != SIZE_UNKNOWN && sink_expect(sink, size_bytes, err) < 0) ||
	    copy(file, fd, size_bytes, ctx, sink, err) < 0)
		return -1;
	if (fstat(fd, &after) < 0)
		return err_errno(err, "looking at %s", file->path);
	if (has_changed(&before, &after))
		return err_set(err, ERR_BUSY, "%s changed while it was read", file->path);
	return 0;
}

/* Checks the type before the file is opened, because opening a device may have side effects. */
static int look(const struct file *file, struct fetch_ctx *ctx, struct version *ret,
		struct err *err)
{
	struct stat st;

	if (files_stat(ctx->helper, file->path, &st, err) < 0 ||
	    check_type(file, st.st_mode, err) < 0)
		return -1;
	make_token(&st, ret);
	return 0;
}

static int file_download(void *state, struct fetch_ctx *ctx, struct sink *sink, struct fetched *ret,
			 struct err *err)
{
	struct version ignored;

	if (look(state, ctx, &ignored, err) < 0)
		return -1;
	return download(state, ctx, sink, ret, err);
}

static enum fetch_result file_download_if_changed(void *state, struct fetch_ctx *ctx,
						  const struct version *have, struct sink *sink,
						  struct fetched *ret, struct err *err)
{
	struct version now;

	if (look(state, ctx, &now, err) < 0)
		return FETCH_FAILED;
	if (strcmp(now.token, have->token) == 0)
		return FETCH_UNCHANGED;
	return download(state, ctx, sink, ret, err) < 0 ? FETCH_FAILED : FETCH_UPDATED;
}

static const char *const url_schemes[] = { "file", NULL };

/* file:///path, file:/path, file://localhost/path (RFC 8089) */
static int from_url(struct options *options, const char *url, struct err *err)
{
	const char *rest = strchr(url, ':');
	const char *path = rest ? rest + 1 : url;

	if (strncmp(path, "//", 2) == 0)
		path += 2;
	if (strncmp(path, "localhost/", 10) == 0)
		path += 9;
	if (path[0] != '/')
		return err_set(err, ERR_CONFIG, "%s: expected file:///ABSOLUTE/PATH", url);
	if (strpbrk(path, "?#"))
		return err_set(err, ERR_CONFIG, "%s: write \"?\" as %%3F and \"#\" as %%23", url);
	_cleanup_free_ char *decoded = strdup(path);
	if (!decoded)
		return err_set(err, ERR_CONFIG, "%s: out of memory", url);
	if (!percent_decode(decoded))
		return err_set(err, ERR_CONFIG,
			       "%s: a \"%%\" must be followed by two hexadecimal digits", url);
	return options_set(options, "path", decoded, err);
}

const struct fetcher_ops fetcher_file = {
	.type = {
		.name = "file",
		.help = "a file of this machine",
		.options = &file_table,
		.init = file_init,
		.free = free,
		.describe = file_path,
		.url_schemes = url_schemes,
		.from_url = from_url,
	},
	.download = file_download,
	.download_if_changed = file_download_if_changed,
	.watched_path = file_path,
};
