#include "fetchers/http/http_source.h"

#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include "base/util.h"
#include "http/http.h"
#include "fetchers/shared/http_rows.h"
#include "fetchers/shared/option_check.h"

/* ---- headers ---- */

static bool is_token(const char *text, size_t len)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      strchr(others, c)))
			return false;
	}
	return len > 0;
}

/* Headers that rptfs sets itself, or that would change the meaning of a response. */
static bool is_ours(const char *name, size_t len)
{
	static const char *const ours[] = {
		"Accept-Encoding",
		"Connection",
		"Content-Length",
		"Content-Encoding",
		"Expect",
		"Host",
		"HTTP2-Settings",
		"If-Match",
		"If-None-Match",
		"If-Modified-Since",
		"If-Range",
		"If-Unmodified-Since",
		"Keep-Alive",
		"Range",
		"TE",
		"Trailer",
		"Transfer-Encoding",
		"Upgrade",
		"User-Agent",
	};

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		if (strlen(ours[i]) == len && strncasecmp(name, ours[i], len) == 0)
			return true;
	}
	return false;
}

/* Is this the header with that name? */
static bool has_name(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncasecmp(line, name, len) == 0 && line[len] == ':';
}

/* Messages show only the name of a header, because its value may be a secret. */
static int check_header(const char *line, struct err *err)
{
	size_t name_len = strcspn(line, ":");
	const char *value = line + name_len;

	if (!*value || !is_token(line, name_len))
		return err_set(err, ERR_CONFIG, "must have the form \"Name: value\"");
	value += 1 + strspn(value + 1, " \t");
	if (!*value)
		return err_set(err, ERR_CONFIG, "\"%.*s\" has no value", (int)name_len, line);
	for (; *value; value++) {
		if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
			return err_set(err, ERR_CONFIG,
				       "the value of \"%.*s\" contains a control character",
				       (int)name_len, line);
	}
	if (has_name(line, "User-Agent"))
		return err_set(err, ERR_CONFIG, "set the option user_agent instead");
	if (is_ours(line, name_len))
		return err_set(err, ERR_CONFIG, "\"%.*s\" is set by rptfs", (int)name_len, line);
	return 0;
}

/* Does this header only authenticate? The others may select what is sent. A name such as
 * X-Api-Key, X-Auth-Token or X-Client-Secret says so. */
static bool is_credential(const char *line)
{
	static const char *const ends[] = { "-Key", "-Token", "-Secret" };
	size_t len = strcspn(line, ":");

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t end = strlen(ends[i]);
		if (len > end && strncasecmp(line + len - end, ends[i], end) == 0)
			return true;
	}
	return has_name(line, "Authorization") || has_name(line, "Proxy-Authorization");
}

/* ---- the options ---- */

static int check_url(const char *url, struct err *err)
{
	_cleanup_free_ char *origin = NULL;

	return http_url_origin(url, &origin, err);
}

static int check_user(const char *user, struct err *err)
{
	if (!*user || strchr(user, ':'))
		return err_set(err, ERR_CONFIG, "must not be empty or contain \":\"");
	return check_line(user, err);
}

static int check_socket(const char *path, struct err *err)
{
	struct sockaddr_un address;

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, ERR_CONFIG, "longer than %zu bytes",
			       sizeof(address.sun_path) - 1);
	return check_path(path, err);
}

static const char *const redirects[] = { "public", "any", NULL };
static const char *const content_codings[] = { "decode", "as-sent", NULL };

static const struct option_spec rows[] = {
	{ .name = "url",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, url),
	  .role = OPTION_IDENTITY,
	  .required = true,
	  .check = check_url,
	  .mask = http_url_mask,
	  .help = "http:// or https://, without user and password" },
	{ .name = "http_cache",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(http_options, http_cache),
	  .role = OPTION_MANNER,
	  .default_text = "false",
	  .help = "check again when Cache-Control, Age and Expires allow it" },
	{ .name = "min_refresh_interval",
	  .type = OPTION_DURATION,
	  OPTION_FIELD(http_options, min_refresh_ms),
	  .role = OPTION_MANNER,
	  .default_text = "30s",
	  .help = "with http_cache: the shortest time between two checks" },
	{ .name = "headers",
	  .type = OPTION_STRINGS,
	  OPTION_FIELD(http_options, headers),
	  .role = OPTION_IDENTITY,
	  .check = check_header,
	  .is_manner = is_credential,
	  .secret = true,
	  .help = "request headers, \"Name: value\"; not sent to other hosts" },
	HTTP_ROW_CONTENT_TYPE(http_options),
	{ .name = "user_agent",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, user_agent),
	  .role = OPTION_MANNER,
	  .check = check_line,
	  .default_text = "rptfs/" RPTFS_VERSION,
	  .help = "value of the User-Agent header" },
	{ .name = "user",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, user),
	  .role = OPTION_MANNER,
	  .check = check_user,
	  .help = "basic authentication: the user" },
	{ .name = "password",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, password),
	  .role = OPTION_MANNER,
	  .check = check_line,
	  .secret = true,
	  .help = "basic authentication: the password" },
	{ .name = "password_file",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, password_file),
	  .role = OPTION_MANNER,
	  .check = check_path,
	  .names_file = true,
	  .help = "a file with the password, read before each request" },
	{ .name = "bearer_token_file",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, bearer_token_file),
	  .role = OPTION_MANNER,
	  .check = check_path,
	  .names_file = true,
	  .help = "a file with a bearer token, read before each request" },
	{ .name = "client_cert",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, client_cert),
	  .role = OPTION_MANNER,
	  .check = check_path,
	  .names_file = true,
	  .help = "client certificate, a PEM file" },
	{ .name = "client_key",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, client_key),
	  .role = OPTION_MANNER,
	  .check = check_path,
	  .names_file = true,
	  .help = "key of the client certificate, a PEM file; left out: in client_cert" },
	HTTP_ROW_CA_FILE(http_options),
	HTTP_ROW_PROXY(http_options),
	{ .name = "unix_socket",
	  .type = OPTION_STRING,
	  OPTION_FIELD(http_options, unix_socket),
	  .role = OPTION_IDENTITY,
	  .check = check_socket,
	  .names_file = true,
	  .help = "connect to this socket instead of the URL's host" },
	HTTP_ROW_CONNECT_TIMEOUT(http_options),
	HTTP_ROW_STALL_TIMEOUT(http_options),
	{ .name = "max_redirects",
	  .type = OPTION_NUMBER,
	  OPTION_FIELD(http_options, max_redirects),
	  .role = OPTION_MANNER,
	  .max = 50,
	  .default_text = "5",
	  .help = "how many redirects to follow; 0: none" },
	{ .name = "redirects",
	  .type = OPTION_WORD,
	  OPTION_FIELD(http_options, redirects),
	  .role = OPTION_MANNER,
	  .words = redirects,
	  .default_text = "public",
	  .help = "from a public host: only to public addresses, or to any" },
	{ .name = "content_coding",
	  .type = OPTION_WORD,
	  OPTION_FIELD(http_options, content_coding),
	  .role = OPTION_IDENTITY,
	  .words = content_codings,
	  .default_text = "decode",
	  .help = "gzip, br, zstd: decode the body, or take its bytes as sent" },
	{ .name = "accept_unframed",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(http_options, accept_unframed),
	  .role = OPTION_JUDGE,
	  .default_text = "false",
	  .help = "accept a body that ends with the connection, although a truncated one does "
		  "too" },
	{ .name = NULL },
};

const struct option_table http_source_options = OPTION_TABLE(rows, http_options);

void http_source_check(const void *values, struct option_problems *problems)
{
	const struct http_options *options = values;
	const char *login = options->user ? "user" : "bearer_token_file";
	bool has_login = options->user || options->bearer_token_file;

	for (const char *const *line = options->headers; line && *line; line++) {
		if (has_login && has_name(*line, "Authorization"))
			option_problem(problems, "headers", login,
				       "headers: \"Authorization\" besides user or "
				       "bearer_token_file");
	}
	if (options->user && options->bearer_token_file)
		option_problem(problems, "bearer_token_file", "user",
			       "user and bearer_token_file exclude each other");
	if (options->password && options->password_file)
		option_problem(problems, "password_file", "password",
			       "password and password_file exclude each other");
	if (!options->user && (options->password || options->password_file))
		option_problem(problems, options->password ? "password" : "password_file", "user",
			       "password without user");
	if (options->unix_socket && options->proxy && *options->proxy)
		option_problem(problems, "proxy", "unix_socket",
			       "unix_socket and proxy exclude each other");
	if (options->client_key && !options->client_cert)
		option_problem(problems, "client_key", "client_cert",
			       "client_key without client_cert");
}

/* ---- life ---- */

static void source_cleanup(struct http_source **source)
{
	http_source_free(*source);
}

/* Sets shown_url only if it may differ from url. */
static int name_source(struct http_source *source, struct err *err)
{
	const char *url = source->options->url, *socket = source->options->unix_socket;
	size_t size = strlen(url) + sizeof("?…");

	if (strpbrk(url, "@?#")) {
		source->shown_url = malloc(size);
		if (!source->shown_url)
			return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
		http_url_mask(url, source->shown_url, size);
	}
	if (!socket)
		return 0;
	free(source->origin);
	if (asprintf(&source->origin, "unix:%s", socket) < 0) {
		source->origin = NULL;
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	}
	return 0;
}

int http_source_init(void **ret_state, const void *options, struct helper *helper, struct err *err)
{
	_cleanup_(source_cleanup) struct http_source *source = calloc(1, sizeof(*source));

	(void)helper;
	if (!source)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	source->options = options;
	if (http_url_origin(source->options->url, &source->origin, err) < 0)
		return err_prefix(err, "url");
	if (name_source(source, err) < 0)
		return -1;
	*ret_state = steal_ptr(&source);
	return 0;
}

void http_source_free(void *state)
{
	struct http_source *source = state;

	if (!source)
		return;
	free(source->shown_url);
	free(source->origin);
	free(source);
}

const char *http_source_describe(void *state)
{
	return http_source_shown(state);
}

const char *http_source_origin(void *state)
{
	return ((const struct http_source *)state)->origin;
}

int http_source_from_url(struct options *options, const char *url, struct err *err)
{
	return options_set(options, "url", url, err);
}
