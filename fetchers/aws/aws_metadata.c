#include "fetchers/aws/aws_metadata.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/secret.h"
#include "http/http.h"
#include "fetchers/aws/aws_env.h"
#include "fetchers/aws/aws_files.h"
#include "fetchers/aws/aws_http.h"
#include "fetchers/aws/aws_keys_json.h"

#define CONTAINER_HOST	     "http://169.254.170.2"
#define CONTAINER_TIMEOUT_MS 2000
#define INSTANCE_HOST	     "http://169.254.169.254"
#define INSTANCE_HOST_IPV6   "http://[fd00:ec2::254]"
#define INSTANCE_TIMEOUT_MS  1000
#define INSTANCE_TIMEOUT_MAX (30 * MS_PER_S)
#define INSTANCE_ROLES	     "latest/meta-data/iam/security-credentials/"
#define TOKEN_TTL_HEADER     "X-aws-ec2-metadata-token-ttl-seconds: 21600"
#define TOKEN_HEADER	     "X-aws-ec2-metadata-token: "
#define ROLE_NAME_MAX	     128

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "credentials: out of memory");
}

/* The line "Name: secret" in locked memory; NULL: out of memory. */
static char *header_line(const char *prefix, const char *secret)
{
	size_t size = strlen(prefix) + strlen(secret) + 1;
	char *line = secret_new(size);

	if (line)
		snprintf(line, size, "%s%s", prefix, secret);
	return line;
}

/* ---- container ---- */

static bool is_trusted_address(const char *host)
{
	static const char *const trusted[] = { "169.254.170.2", "169.254.170.23",
					       "[fd00:ec2::23]" };

	for (size_t i = 0; i < ARRAY_SIZE(trusted); i++) {
		if (strcmp(host, trusted[i]) == 0)
			return true;
	}
	return http_is_loopback(host);
}

/* Plain HTTP is allowed only to this machine and to the container service. */
static int check_full_uri(const char *url, struct err *err)
{
	_cleanup_free_ char *origin = NULL;

	if (http_url_origin(url, &origin, err) < 0)
		return err_prefix(err, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
	if (strncmp(origin, "https:", 6) == 0)
		return 0;
	char *host = origin + strlen("http://");
	char *port = strrchr(host, ':');
	if (port)
		*port = '\0';
	if (is_trusted_address(host))
		return 0;
	return err_set(err, ERR_DENIED,
		       "AWS_CONTAINER_CREDENTIALS_FULL_URI: %s is neither https nor an address of "
		       "this machine",
		       host);
}

/* The caller frees *ret; it stays NULL if the environment names no endpoint. */
static int container_url(char **ret, struct err *err)
{
	const char *relative = aws_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = aws_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");

	if (!relative && !full)
		return 0;
	if (relative && *relative != '/') /* else it would become part of the host */
		return err_set(err, ERR_DENIED,
			       "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with \"/\"");
	if (!relative && check_full_uri(full, err) < 0)
		return -1;
	if (asprintf(ret, "%s%s", relative ? CONTAINER_HOST : "", relative ? relative : full) < 0) {
		*ret = NULL;
		return out_of_memory(err);
	}
	return 0;
}

/* The header line, in locked memory; *ret stays NULL if no token is set. Read each time because
 * the token is rotated. */
static int container_token(struct helper *helper, char **ret, struct err *err)
{
	const char *file = aws_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *plain = aws_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	_cleanup_secret_ char *read = NULL;

	if (file &&
	    aws_token_read(helper, file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &read, err) < 0)
		return -1;
	if (!file && plain && strpbrk(plain, "\r\n"))
		return err_set(err, ERR_DENIED,
			       "AWS_CONTAINER_AUTHORIZATION_TOKEN has more than one line");
	if (!file && !plain)
		return 0;
	*ret = header_line("Authorization: ", file ? read : plain);
	return *ret ? 0 : out_of_memory(err);
}

static int ask_container(struct fetch_ctx *ctx, const char *url, struct aws_reply *ret,
			 struct err *err)
{
	_cleanup_secret_ char *token = NULL;

	if (container_token(ctx->helper, &token, err) < 0)
		return -1;
	const char *headers[] = { "Accept: application/json", token, NULL };
	struct aws_http_request request = {
		.url = url,
		.headers = headers,
		.connect_timeout_ms = CONTAINER_TIMEOUT_MS,
		.stall_timeout_ms = CONTAINER_TIMEOUT_MS,
		.is_local = true,
	};
	return aws_http(ctx, &request, ret, err);
}

enum aws_found aws_container_keys(struct fetch_ctx *ctx, struct aws_keys **ret, struct err *err)
{
	static const char where[] = "container credentials";
	_cleanup_(aws_reply_release) struct aws_reply reply = { .body = NULL };
	_cleanup_free_ char *url = NULL;

	if (container_url(&url, err) < 0)
		return AWS_FAILED;
	if (!url) {
		err_set(err, ERR_DENIED, "no container endpoint");
		return AWS_ABSENT;
	}
	if (ask_container(ctx, url, &reply, err) < 0) {
		err_prefix(err, where);
		return AWS_FAILED;
	}
	if (reply.status != 200) {
		err_set(err, aws_status_kind(reply.status), "%s: %d from the endpoint", where,
			reply.status);
		return AWS_FAILED;
	}
	if (aws_keys_from_json(ret, AWS_JSON_SERVICE, reply.body, reply.body_bytes, where, err) < 0)
		return AWS_FAILED;
	return AWS_FOUND;
}

/* ---- instance ---- */

static const char *instance_host(const struct aws_instance_setup *setup)
{
	const char *host = aws_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *mode = aws_env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");

	if (!host)
		host = setup->endpoint;
	if (!mode)
		mode = setup->endpoint_mode;
	if (host)
		return host;
	return mode && strcasecmp(mode, "ipv6") == 0 ? INSTANCE_HOST_IPV6 : INSTANCE_HOST;
}

static int64_t instance_timeout_ms(void)
{
	const char *text = aws_env("AWS_METADATA_SERVICE_TIMEOUT");
	double wait_s = text ? strtod(text, NULL) : 0;

	if (!(wait_s > 0))
		return INSTANCE_TIMEOUT_MS;
	return wait_s * MS_PER_S < INSTANCE_TIMEOUT_MAX ? (int64_t)(wait_s * MS_PER_S) + 1
							: INSTANCE_TIMEOUT_MAX;
}

static int ask_instance(struct fetch_ctx *ctx, const char *host, const char *method,
			const char *path, const char *header, struct aws_reply *ret,
			struct err *err)
{
	_cleanup_free_ char *url = NULL;
	const char *headers[] = { header, NULL };
	bool is_put = strcmp(method, "PUT") == 0;
	size_t len = strlen(host);

	if (asprintf(&url, "%s%s%s", host, len && host[len - 1] == '/' ? "" : "/", path) < 0) {
		url = NULL;
		return out_of_memory(err);
	}
	struct aws_http_request request = {
		.method = method,
		.url = url,
		.headers = headers,
		.body = is_put ? "" : NULL,
		.connect_timeout_ms = instance_timeout_ms(),
		.stall_timeout_ms = instance_timeout_ms(),
		.is_local = true,
	};
	return aws_http(ctx, &request, ret, err);
}

static enum aws_found refuse(const struct aws_reply *reply, const char *what, struct err *err)
{
	/* 403: switched off; 404: no role. A busy service may have one a moment later. */
	enum err_kind kind = aws_status_kind(reply->status);

	err_set(err, kind, "metadata service: %d for the %s", reply->status, what);
	return kind == ERR_BUSY ? AWS_FAILED : AWS_ABSENT;
}

/* The header line with the session token, in locked memory. */
static enum aws_found instance_token(struct fetch_ctx *ctx, const char *host, char **ret,
				     struct err *err)
{
	_cleanup_(aws_reply_release) struct aws_reply reply = { .body = NULL };

	if (ask_instance(ctx, host, "PUT", "latest/api/token", TOKEN_TTL_HEADER, &reply, err) < 0) {
		err_prefix(err, "metadata service");
		return err->kind == ERR_UNREACHABLE ? AWS_ABSENT : AWS_FAILED;
	}
	if (reply.status != 200 || !reply.body_bytes || strpbrk(reply.body, "\r\n"))
		return refuse(&reply, "token", err);
	*ret = header_line(TOKEN_HEADER, reply.body);
	if (*ret)
		return AWS_FOUND;
	out_of_memory(err);
	return AWS_FAILED;
}

/* ret_path needs room for INSTANCE_ROLES and ROLE_NAME_MAX more bytes. */
static enum aws_found instance_role(struct fetch_ctx *ctx, const char *host, const char *token,
				    char *ret_path, size_t size, struct err *err)
{
	_cleanup_(aws_reply_release) struct aws_reply reply = { .body = NULL };

	if (ask_instance(ctx, host, "GET", INSTANCE_ROLES, token, &reply, err) < 0) {
		err_prefix(err, "metadata service");
		return AWS_FAILED;
	}
	size_t len = reply.body_bytes ? strcspn(reply.body, "\r\n") : 0;
	if (reply.status != 200 || !len || len >= ROLE_NAME_MAX ||
	    strspn(reply.body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
			       "+=,.@-_") < len)
		return refuse(&reply, "role", err);
	snprintf(ret_path, size, "%s%.*s", INSTANCE_ROLES, (int)len, reply.body);
	return AWS_FOUND;
}

static enum aws_found instance_document(struct fetch_ctx *ctx, const char *host, const char *token,
					const char *path, struct aws_keys **ret, struct err *err)
{
	static const char where[] = "metadata service";
	_cleanup_(aws_reply_release) struct aws_reply reply = { .body = NULL };

	if (ask_instance(ctx, host, "GET", path, token, &reply, err) < 0) {
		err_prefix(err, where);
		return AWS_FAILED;
	}
	if (reply.status != 200)
		return refuse(&reply, "keys of the role", err);
	if (aws_keys_from_json(ret, AWS_JSON_SERVICE, reply.body, reply.body_bytes, where, err) < 0)
		return AWS_FAILED;
	return AWS_FOUND;
}

enum aws_found aws_instance_keys(struct fetch_ctx *ctx, const struct aws_instance_setup *setup,
				 struct aws_keys **ret, struct err *err)
{
	const char *disabled = aws_env("AWS_EC2_METADATA_DISABLED");
	const char *host = instance_host(setup);
	_cleanup_secret_ char *token = NULL;
	char path[sizeof(INSTANCE_ROLES) + ROLE_NAME_MAX];

	if (disabled && strcasecmp(disabled, "true") == 0) {
		err_set(err, ERR_DENIED, "AWS_EC2_METADATA_DISABLED is set");
		return AWS_ABSENT;
	}
	enum aws_found found = instance_token(ctx, host, &token, err);
	if (found == AWS_FOUND)
		found = instance_role(ctx, host, token, path, sizeof(path), err);
	if (found == AWS_FOUND)
		found = instance_document(ctx, host, token, path, ret, err);
	return found;
}
