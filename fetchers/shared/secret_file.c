#include "fetchers/shared/secret_file.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/files.h"
#include "base/read_full.h"
#include "base/secret.h"
#include "base/util.h"

#define LINE_MAX_BYTES (16 * 1024)

static int fail(const char *path, struct err *err)
{
	err_errno(err, "%s", path);
	err->kind = ERR_DENIED;
	return -1;
}

int secret_file_read_open(int fd, const char *path, size_t max_bytes, char **ret, size_t *ret_len,
			  struct err *err)
{
	_cleanup_secret_ char *text = NULL;
	struct stat st;

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
	*ret_len = (size_t)len;
	*ret = steal_ptr(&text);
	return 0;
}

int secret_file_read(struct helper *helper, const char *path, size_t max_bytes, char **ret,
		     size_t *ret_len, struct err *err)
{
	_cleanup_close_ int fd = files_open(helper, path, err);

	if (fd < 0) {
		if (err->kind == ERR_BAD_DATA)
			err->kind = ERR_DENIED;
		return -1;
	}
	return secret_file_read_open(fd, path, max_bytes, ret, ret_len, err);
}

static bool is_one_line(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	return true;
}

int secret_file_line(struct helper *helper, const char *path, const char *what, char **ret,
		     struct err *err)
{
	_cleanup_secret_ char *text = NULL;
	size_t len;

	if (secret_file_read(helper, path, LINE_MAX_BYTES, &text, &len, err) < 0) {
		if (err->kind == ERR_NOT_FOUND)
			err->kind = ERR_DENIED;
		return err_prefix(err, "%s", what);
	}
	while (len && strchr("\r\n", text[len - 1]))
		text[--len] = '\0';
	if (!len)
		return err_set(err, ERR_DENIED, "%s: %s is empty", what, path);
	if (!is_one_line(text, len))
		return err_set(err, ERR_DENIED, "%s: %s does not hold one line of text", what,
			       path);
	*ret = steal_ptr(&text);
	return 0;
}
