#include "fetchers/aws/aws_sts.h"

#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/secret.h"
#include "http/http.h"
#include "fetchers/aws/aws_error.h"
#include "fetchers/aws/aws_files.h"
#include "fetchers/aws/aws_http.h"
#include "fetchers/aws/aws_keys_xml.h"
#include "fetchers/aws/aws_region.h"
#include "fetchers/aws/sigv4.h"

#define CONNECT_TIMEOUT_MS 5000
#define STALL_TIMEOUT_MS   10000
#define FORM_SIZE	   (64 * 1024)
#define SESSION_NAME	   "rptfs"
#define WHERE_SIZE	   200

/* AWS refuses a signature if the clock is off by 5 minutes; this leaves a minute of margin. */
#define CLOCK_TOLERANCE_MS (INT64_C(4) * 60 * MS_PER_S)

/* One call. */
struct call {
	struct fetch_ctx *ctx;
	const struct aws_role *role;
	const struct aws_keys *base; /* NULL: the request is not signed */
	char where[WHERE_SIZE];	     /* for messages */
	const char *region;
	char *origin; /* owned; "https://host:443" */
	char *host;   /* owned; as in the Host header */
	char *form;   /* owned; locked memory */
	size_t form_bytes;
};

static void call_release(struct call *call)
{
	free(call->origin);
	free(call->host);
	secret_free(call->form);
}

static int out_of_memory(const struct call *call, struct err *err)
{
	return err_set(err, ERR_INTERNAL, "%s: out of memory", call->where);
}

/* ---- the form ---- */

/* Adds a parameter unless its value is NULL. */
static int add(struct call *call, const char *name, const char *value, struct err *err)
{
	size_t used = call->form_bytes;

	if (!value)
		return 0;
	size_t len = strlen(value);
	if (len > FORM_SIZE || used + strlen(name) + 2 + URI_ENCODED_SIZE(len) > FORM_SIZE)
		return err_set(err, ERR_DENIED, "%s: %s is too long", call->where, name);
	used += (size_t)sprintf(call->form + used, "%s%s=", used ? "&" : "", name);
	call->form_bytes = (size_t)(uri_encode(value, false, call->form + used) - call->form);
	return 0;
}

static int make_form(struct call *call, struct err *err)
{
	const struct aws_role *role = call->role;
	_cleanup_secret_ char *token = NULL;

	if (!call->base && aws_token_read(call->ctx->helper, role->token_file,
					  "web_identity_token_file", &token, err) < 0)
		return -1;
	call->form = secret_new(FORM_SIZE);
	if (!call->form)
		return out_of_memory(call, err);
	if (add(call, "Action", token ? "AssumeRoleWithWebIdentity" : "AssumeRole", err) < 0 ||
	    add(call, "Version", "2011-06-15", err) < 0 ||
	    add(call, "RoleArn", role->arn, err) < 0 ||
	    add(call, "RoleSessionName", role->session_name ? role->session_name : SESSION_NAME,
		err) < 0 ||
	    add(call, "DurationSeconds", role->duration_seconds, err) < 0)
		return -1;
	if (token)
		return add(call, "WebIdentityToken", token, err);
	return add(call, "ExternalId", role->external_id, err);
}

/* ---- the endpoint ---- */

static int find_endpoint(struct call *call, struct err *err)
{
	const struct aws_endpoint *endpoint = call->role->endpoint;
	const char *url = endpoint->url.value;
	char standard[AWS_STS_HOST_SIZE + 8];

	call->region = call->role->region ? call->role->region : aws_region_of_arn(call->role->arn);
	if (!aws_is_region(call->region))
		return err_set(err, ERR_DENIED, "%s: \"%.64s\" is not a region", call->where,
			       call->region);
	if (!url) {
		char host[AWS_STS_HOST_SIZE];
		aws_sts_host(call->region, endpoint->is_fips, endpoint->is_dualstack, host);
		snprintf(standard, sizeof(standard), "https://%s", host);
		url = standard;
	}
	if (http_url_origin(url, &call->origin, err) < 0)
		return err_prefix(err, "%s", endpoint->url.from);
	call->host = sigv4_host(call->origin);
	return call->host ? 0 : out_of_memory(call, err);
}

/* ---- the request ---- */

static int sign(const struct call *call, int64_t now_ms, struct sigv4_signed *ret, struct err *err)
{
	static const struct uri_pair type = { "content-type", "application/x-www-form-urlencoded" };
	uint8_t sum[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];

	if (digest_of(call->form, call->form_bytes, sum, err) < 0)
		return -1;
	struct sigv4_request request = {
		.method = "POST",
		.host = call->host,
		.path = "/",
		.region = call->region,
		.service = "sts",
		.headers = &type,
		.n_headers = 1,
		.payload_sha256_hex = digest_hex(sum, hex),
		.time_ms = now_ms,
		.access_key = call->base ? call->base->access_key : NULL,
		.secret_key = call->base ? call->base->secret_key : NULL,
		.session_token = call->base ? call->base->session_token : NULL,
	};
	return sigv4_sign(&request, ret, err);
}

static int ask(const struct call *call, int64_t now_ms, struct aws_reply *ret, struct err *err)
{
	_cleanup_(sigv4_signed_release) struct sigv4_signed made = SIGV4_SIGNED_INIT;
	_cleanup_free_ char *url = NULL;

	if (sign(call, now_ms, &made, err) < 0)
		return -1;
	if (asprintf(&url, "%s%s", call->origin, made.target) < 0) {
		url = NULL;
		return out_of_memory(call, err);
	}
	struct aws_http_request request = {
		.method = "POST",
		.url = url,
		.headers = (const char *const *)made.headers,
		.body = call->form,
		.body_bytes = call->form_bytes,
		.ca_file = call->role->ca_file,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
		.stall_timeout_ms = STALL_TIMEOUT_MS,
	};
	if (aws_http(call->ctx, &request, ret, err) < 0)
		return err_prefix(err, "%s", call->where);
	return 0;
}

/* How far the service's clock is ahead if that explains the refusal, else 0. */
static int64_t clock_ahead_ms(const struct call *call, const struct aws_reply *reply)
{
	int64_t ahead_ms = reply->date_ms - clock_wall_ms();

	if (!call->base || reply->date_ms < 0 || reply->status / 100 != 4)
		return 0;
	return ahead_ms > CLOCK_TOLERANCE_MS || ahead_ms < -CLOCK_TOLERANCE_MS ? ahead_ms : 0;
}

static bool is_busy(const struct aws_error *error)
{
	return strncmp(error->code, "Throttl", 7) == 0 ||
	       strcmp(error->code, "IDPCommunicationError") == 0;
}

static int refuse(const struct call *call, const struct aws_reply *reply, struct err *err)
{
	struct aws_error error;

	aws_error_read(reply->body, reply->body_bytes, &error);
	enum err_kind kind = is_busy(&error) ? ERR_BUSY : aws_status_kind(reply->status);
	if (!*error.code)
		return err_set(err, kind, "%s: %d", call->where, reply->status);
	return err_set(err, kind, "%s: %d %s: %s", call->where, reply->status, error.code,
		       error.message);
}

static int perform(struct call *call, struct aws_keys **ret, struct err *err)
{
	_cleanup_(aws_reply_release) struct aws_reply first = { .body = NULL };
	_cleanup_(aws_reply_release) struct aws_reply second = { .body = NULL };
	const struct aws_reply *reply = &first;

	if (ask(call, clock_wall_ms(), &first, err) < 0)
		return -1;
	int64_t ahead_ms = clock_ahead_ms(call, &first);
	if (ahead_ms) {
		reply = &second;
		if (ask(call, clock_wall_ms() + ahead_ms, &second, err) < 0)
			return -1;
	}
	if (reply->status != 200)
		return refuse(call, reply, err);
	return aws_keys_from_xml(ret, reply->body, reply->body_bytes, call->where, err);
}

int aws_role_keys(struct fetch_ctx *ctx, const struct aws_role *role, const struct aws_keys *base,
		  struct aws_keys **ret, struct err *err)
{
	_cleanup_(call_release) struct call call = { .ctx = ctx, .role = role, .base = base };

	snprintf(call.where, sizeof(call.where), "%s %.128s",
		 base ? "AssumeRole" : "AssumeRoleWithWebIdentity", role->arn);
	if (make_form(&call, err) < 0 || find_endpoint(&call, err) < 0)
		return -1;
	return perform(&call, ret, err);
}
