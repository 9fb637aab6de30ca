/*
 * http_secrets: the secrets of one request. They are read from their files each time, so that a
 * changed token takes effect with the next request.
 */
#ifndef FETCHERS_HTTP_HTTP_SECRETS_H
#define FETCHERS_HTTP_HTTP_SECRETS_H

#include "base/err.h"
#include "fetchers/http/http_source.h"

struct helper;

/* In locked memory; NULL: not configured. */
struct http_secrets {
	char *user_password; /* owned; "user:password" */
	char *bearer_token;  /* owned */
};

/* helper: for base/files.h. ERR_DENIED, not ERR_CONFIG, if a file cannot be read or holds no
 * secret: the next attempt may find it corrected. */
int http_secrets_read(const struct http_source *source, struct helper *helper,
		      struct http_secrets *ret, struct err *err);
void http_secrets_release(struct http_secrets *secrets);

#endif
