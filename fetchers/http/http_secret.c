#include <string.h>

#include "base/util.h"
#include "base/files.h"
#include "fetchers/check.h"
#include "fetchers/http/http_source.h"

#define SECRET_MAX (16 * 1024)

static void secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

DEFINE_CLEANUP(char, secret_free)

void http_secrets_release(struct http_secrets *secrets)
{
	secret_free(steal_ptr(&secrets->user_password));
	secret_free(steal_ptr(&secrets->bearer_token));
}

static bool is_one_line(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	return len > 0;
}

static int read_secret(const char *path, const char *option, char **ret, struct err *err)
{
	_cleanup_(secret_free_cleanup) char *text = calloc(1, SECRET_MAX + 1);

	if (!text)
		return err_set(err, ERR_INTERNAL, "%s %s: out of memory", option, path);
	ssize_t len = files_read(path, text, SECRET_MAX, err);
	if (len < 0)
		return check_file_failed(option, err);
	while (len && strchr("\r\n", text[len - 1]))
		text[--len] = '\0';
	if (len == SECRET_MAX || !is_one_line(text, (size_t)len))
		return err_set(err, ERR_DENIED, "%s %s does not hold one line of text", option,
			       path);
	*ret = steal_ptr(&text);
	return 0;
}

static int read_password(const struct http_source *source, char **ret, struct err *err)
{
	_cleanup_(secret_free_cleanup) char *read = NULL;
	const char *password = source->password;

	if (source->password_file) {
		if (read_secret(source->password_file, "password_file", &read, err) < 0)
			return -1;
		password = read;
	}
	if (asprintf(ret, "%s:%s", source->user, password ? password : "") < 0) {
		*ret = NULL;
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	}
	return 0;
}

int http_secrets_read(const struct http_source *source, struct http_secrets *ret, struct err *err)
{
	if (source->user)
		return read_password(source, &ret->user_password, err);
	if (source->bearer_token_file)
		return read_secret(source->bearer_token_file, "bearer_token_file",
				   &ret->bearer_token, err);
	return 0;
}
