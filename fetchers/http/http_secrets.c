#include "fetchers/http/http_secrets.h"

#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "base/util.h"
#include "fetchers/shared/secret_file.h"

void http_secrets_release(struct http_secrets *secrets)
{
	secret_free(steal_ptr(&secrets->user_password));
	secret_free(steal_ptr(&secrets->bearer_token));
}

static int read_password(const struct http_source *source, struct helper *helper, char **ret,
			 struct err *err)
{
	_cleanup_secret_ char *read = NULL;
	const char *password = source->options->password ? source->options->password : "";

	if (source->options->password_file) {
		if (secret_file_line(helper, source->options->password_file, "password_file", &read,
				     err) < 0)
			return -1;
		password = read;
	}
	size_t size = strlen(source->options->user) + strlen(password) + sizeof(":");
	*ret = secret_new(size);
	if (!*ret)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	snprintf(*ret, size, "%s:%s", source->options->user, password);
	return 0;
}

int http_secrets_read(const struct http_source *source, struct helper *helper,
		      struct http_secrets *ret, struct err *err)
{
	if (source->options->user)
		return read_password(source, helper, &ret->user_password, err);
	if (source->options->bearer_token_file)
		return secret_file_line(helper, source->options->bearer_token_file,
					"bearer_token_file", &ret->bearer_token, err);
	return 0;
}
