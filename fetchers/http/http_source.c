#include "fetchers/http/http_source.h"

#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include "base/util.h"
#include "http/http.h"
#include "fetchers/shared/media_type.h"
#include "fetchers/shared/option_check.h"

#define MAX_REDIRECTS_MAX 50

const struct option_spec http_source_options[] = {
	{ .name = "url",
	  .type = OPTION_STRING,
	  .required = true,
	  .help = "http:// or https://, without user and password" },
	{ .name = "http_cache",
	  .type = OPTION_BOOL,
	  .default_text = "false",
	  .help = "ask again when Cache-Control, Age and Expires say so" },
	{ .name = "min_refresh_interval",
	  .type = OPTION_DURATION,
	  .default_text = "30s",
	  .help = "with http_cache: never ask more often" },
	{ .name = "headers",
	  .type = OPTION_STRINGS,
	  .secret = true,
	  .help = "request headers, \"Name: value\"; not sent to other hosts" },
	{ .name = "content_type",
	  .type = OPTION_STRINGS,
	  .help = "media types that are taken, such as \"text/*\"; left out: any" },
	{ .name = "user_agent",
	  .type = OPTION_STRING,
	  .default_text = "rptfs/" RPTFS_VERSION,
	  .help = "what rptfs calls itself" },
	{ .name = "user", .type = OPTION_STRING, .help = "basic authentication: the user" },
	{ .name = "password",
	  .type = OPTION_STRING,
	  .secret = true,
	  .help = "basic authentication: the password" },
	{ .name = "password_file",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "a file with the password, read before each request" },
	{ .name = "bearer_token_file",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "a file with a bearer token, read before each request" },
	{ .name = "client_cert",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "client certificate, a PEM file" },
	{ .name = "client_key",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "its key, a PEM file; left out: in the same file" },
	{ .name = "ca_file",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "a PEM file of CAs that are trusted instead of the system's" },
	{ .name = "proxy",
	  .type = OPTION_STRING,
	  .secret = true,
	  .help = "URL of a proxy; left out: from http_proxy and the like; \"\": none" },
	{ .name = "unix_socket",
	  .type = OPTION_STRING,
	  .help = "connect to this socket instead of the URL's host" },
	{ .name = "connect_timeout",
	  .type = OPTION_DURATION,
	  .default_text = "10s",
	  .help = "for name, connection and TLS" },
	{ .name = "stall_timeout",
	  .type = OPTION_DURATION,
	  .default_text = "30s",
	  .help = "less than 1 KiB in this time: given up" },
	{ .name = "max_redirects",
	  .type = OPTION_INT,
	  .default_text = "5",
	  .help = "how many redirects are followed; 0: none" },
	{ .name = "accept_unframed",
	  .type = OPTION_BOOL,
	  .default_text = "false",
	  .help = "take a body that ends with its connection; a cut one looks the same" },
	{ .name = NULL },
};

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

/* Messages show only the name of a header, because its value may be a secret. */
static int check_header(const char *line, bool has_credentials, struct err *err)
{
	size_t name_len = strcspn(line, ":");
	const char *value = line + name_len;

	if (!*value || !is_token(line, name_len))
		return err_set(err, ERR_CONFIG, "headers: must have the form \"Name: value\"");
	value += 1 + strspn(value + 1, " \t");
	if (!*value)
		return err_set(err, ERR_CONFIG, "headers: \"%.*s\" has no value", (int)name_len,
			       line);
	for (; *value; value++) {
		if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
			return err_set(
				err, ERR_CONFIG,
				"headers: the value of \"%.*s\" contains a control character",
				(int)name_len, line);
	}
	if (name_len == strlen("User-Agent") && strncasecmp(line, "User-Agent", name_len) == 0)
		return err_set(err, ERR_CONFIG, "headers: set the option user_agent instead");
	if (is_ours(line, name_len))
		return err_set(err, ERR_CONFIG, "headers: \"%.*s\" is set by rptfs", (int)name_len,
			       line);
	if (has_credentials && name_len == strlen("Authorization") &&
	    strncasecmp(line, "Authorization", name_len) == 0)
		return err_set(err, ERR_CONFIG,
			       "headers: \"Authorization\" besides user or bearer_token_file");
	return 0;
}

/* ---- the other options ---- */

static int check_paths(const struct http_source *source, struct err *err)
{
	struct sockaddr_un address;

	if (check_path("password_file", source->password_file, err) < 0 ||
	    check_path("bearer_token_file", source->bearer_token_file, err) < 0 ||
	    check_path("client_cert", source->client_cert, err) < 0 ||
	    check_path("client_key", source->client_key, err) < 0 ||
	    check_path("ca_file", source->ca_file, err) < 0 ||
	    check_path("unix_socket", source->unix_socket, err) < 0)
		return -1;
	if (source->unix_socket && strlen(source->unix_socket) >= sizeof(address.sun_path))
		return err_set(err, ERR_CONFIG, "unix_socket: longer than %zu bytes",
			       sizeof(address.sun_path) - 1);
	return 0;
}

static int check_credentials(const struct http_source *source, struct err *err)
{
	if (source->user && source->bearer_token_file)
		return err_set(err, ERR_CONFIG, "user and bearer_token_file exclude each other");
	if (source->password && source->password_file)
		return err_set(err, ERR_CONFIG, "password and password_file exclude each other");
	if (!source->user && (source->password || source->password_file))
		return err_set(err, ERR_CONFIG, "password without user");
	if (source->user && (!*source->user || strchr(source->user, ':')))
		return err_set(err, ERR_CONFIG, "user: must not be empty or contain \":\"");
	if (source->unix_socket && source->proxy && *source->proxy)
		return err_set(err, ERR_CONFIG, "unix_socket and proxy exclude each other");
	if (source->client_key && !source->client_cert)
		return err_set(err, ERR_CONFIG, "client_key without client_cert");
	return 0;
}

static int check_numbers(const struct http_source *source, int64_t max_redirects, struct err *err)
{
	if (check_timeouts(source->connect_timeout_ms, source->stall_timeout_ms, err) < 0)
		return -1;
	if (max_redirects < 0 || max_redirects > MAX_REDIRECTS_MAX)
		return err_set(err, ERR_CONFIG, "max_redirects: 0 to %d", MAX_REDIRECTS_MAX);
	return 0;
}

static int check(struct http_source *source, int64_t max_redirects, struct err *err)
{
	bool has_credentials = source->user || source->bearer_token_file;

	if (http_url_origin(source->url, &source->origin, err) < 0)
		return err_prefix(err, "url");
	for (const char *const *line = source->headers; line && *line; line++) {
		if (check_header(*line, has_credentials, err) < 0)
			return -1;
	}
	if (media_type_check(source->content_types, err) < 0 ||
	    check_line("user_agent", source->user_agent, err) < 0 ||
	    check_line("user", source->user, err) < 0 ||
	    check_line("password", source->password, err) < 0 ||
	    check_line("proxy", source->proxy, err) < 0 || check_paths(source, err) < 0 ||
	    check_credentials(source, err) < 0)
		return -1;
	return check_numbers(source, max_redirects, err);
}

/* ---- life ---- */

static void source_cleanup(struct http_source **source)
{
	http_source_free(*source);
}

/* Sets shown_url only if it may differ from url. */
static int name_source(struct http_source *source, struct err *err)
{
	size_t size = strlen(source->url) + sizeof("?…");

	if (strpbrk(source->url, "@?#")) {
		source->shown_url = malloc(size);
		if (!source->shown_url)
			return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
		http_url_mask(source->url, source->shown_url, size);
	}
	if (!source->unix_socket)
		return 0;
	free(source->origin);
	if (asprintf(&source->origin, "unix:%s", source->unix_socket) < 0) {
		source->origin = NULL;
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	}
	return 0;
}

int http_source_init(void **ret_state, const struct options *options, struct helper *helper,
		     struct err *err)
{
	_cleanup_(source_cleanup) struct http_source *source = calloc(1, sizeof(*source));
	int64_t max_redirects = options_int(options, "max_redirects");

	(void)helper;
	if (!source)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	source->url = options_string(options, "url");
	source->headers = options_strings(options, "headers", NULL);
	source->content_types = options_strings(options, "content_type", NULL);
	source->user_agent = options_string(options, "user_agent");
	source->user = options_string(options, "user");
	source->password = options_string(options, "password");
	source->password_file = options_string(options, "password_file");
	source->bearer_token_file = options_string(options, "bearer_token_file");
	source->client_cert = options_string(options, "client_cert");
	source->client_key = options_string(options, "client_key");
	source->ca_file = options_string(options, "ca_file");
	source->proxy = options_string(options, "proxy");
	source->unix_socket = options_string(options, "unix_socket");
	source->connect_timeout_ms = options_duration_ms(options, "connect_timeout");
	source->stall_timeout_ms = options_duration_ms(options, "stall_timeout");
	source->min_refresh_ms = options_duration_ms(options, "min_refresh_interval");
	source->max_redirects = (uint32_t)max_redirects;
	source->http_cache = options_bool(options, "http_cache");
	source->accept_unframed = options_bool(options, "accept_unframed");
	if (check(source, max_redirects, err) < 0 || name_source(source, err) < 0)
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
