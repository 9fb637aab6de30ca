/*
 * http_source: the options of the http fetcher, and what is derived from them. Immutable.
 */
#ifndef FETCHERS_HTTP_HTTP_SOURCE_H
#define FETCHERS_HTTP_HTTP_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/option.h"

struct helper;

enum http_redirects { HTTP_REDIRECTS_PUBLIC, HTTP_REDIRECTS_ANY };
enum http_content_coding { HTTP_CODING_DECODE, HTTP_CODING_AS_SENT };

/* NULL: not set. */
struct http_options {
	const char *url;
	const char *const *headers;
	const char *const *content_types;
	const char *user_agent;
	const char *user, *password, *password_file, *bearer_token_file;
	const char *client_cert, *client_key, *ca_file;
	const char *proxy;
	const char *unix_socket;
	int64_t connect_timeout_ms, stall_timeout_ms, min_refresh_ms;
	uint32_t max_redirects;
	bool http_cache, accept_unframed;
	enum http_content_coding content_coding;
	enum http_redirects redirects;
};

struct http_source {
	const struct http_options *options; /* borrowed */
	char *shown_url; /* owned; NULL: the URL contains nothing that must be hidden */
	char *origin;	 /* owned */
};

extern const struct option_table http_source_options;

/* The URL without secrets, for messages. */
static inline const char *http_source_shown(const struct http_source *source)
{
	return source->shown_url ? source->shown_url : source->options->url;
}

/* The functions of struct source_type and struct fetcher_ops; state is a struct http_source. */
void http_source_check(const void *values, struct option_problems *problems);
int http_source_init(void **ret_state, const void *options, struct helper *helper, struct err *err);
void http_source_free(void *state);
const char *http_source_describe(void *state);
const char *http_source_origin(void *state);
int http_source_from_url(struct options *options, const char *url, struct err *err);

#endif
