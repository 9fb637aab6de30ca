#include "fetchers/s3/s3_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "base/util.h"
#include "http/http_field.h"
#include "fetchers/aws/aws_region.h"
#include "fetchers/aws/sigv4.h"
#include "fetchers/s3/s3_address.h"
#include "fetchers/s3/s3_bucket.h"
#include "fetchers/s3/s3_error.h"
#include "fetchers/s3/s3_sse_key.h"

/* S3 does not refuse a request for a smaller difference of the clocks. */
#define SKEW_MIN_MS (INT64_C(60) * 1000)

/* checksum mode, payer, three of SSE-C */
#define N_HEADERS_MAX 5

/* An error response. */
struct refusal {
	int status;		      /* 0: none */
	char region[AWS_REGION_SIZE]; /* as named by the service; empty: not named */
	int64_t date_ms, retry_after_ms;
	bool is_deleted;
	char *body; /* owned */
	size_t body_len;
	struct aws_error error;
};

struct call {
	struct s3_source *source;
	struct fetch_ctx *ctx;
	const struct s3_request *asked;
	const struct http_callbacks *callbacks;

	/* For the signature of the next request. */
	char region[AWS_REGION_SIZE];
	int64_t clock_ahead_ms;
	struct aws_keys *keys; /* a reference; NULL: not known yet, or anonymous */

	bool has_tried_region, has_tried_clock, has_tried_keys;
	struct refusal refusal;
};

static const char *method_of(const struct call *call)
{
	return call->asked->method ? call->asked->method : "GET";
}

static const char *what_of(const struct call *call, char ret[S3_SHOWN_SIZE + 16])
{
	char shown[S3_SHOWN_SIZE];

	snprintf(ret, S3_SHOWN_SIZE + 16, "%.8s %s", method_of(call),
		 s3_source_shown(call->source, shown));
	return ret;
}

static int prefix(const struct call *call, struct err *err)
{
	char what[S3_SHOWN_SIZE + 16];

	return err_prefix(err, "%s", what_of(call, what));
}

/* ---- the response ---- */

static bool take_region(struct refusal *refusal, const char *region)
{
	if (!region || !aws_is_region(region))
		return false;
	strcpy(refusal->region, region);
	return true;
}

/* "https://bucket.s3.eu-west-1.amazonaws.com/key" */
static void take_location(const struct call *call, struct refusal *refusal, const char *location)
{
	const char *scheme_end = location ? strstr(location, "://") : NULL;

	if (scheme_end)
		s3_host_region(scheme_end + 3, call->source->location.bucket, refusal->region);
}

static void take_refusal(struct call *call, const struct http_response *response)
{
	struct refusal *refusal = &call->refusal;
	const char *marker = http_header(response, "x-amz-delete-marker");

	refusal->status = http_status(response);
	refusal->is_deleted = marker && strcmp(marker, "true") == 0;
	refusal->date_ms = http_date_ms(http_header(response, "Date"));
	refusal->retry_after_ms = http_retry_after_ms(http_header(response, "Retry-After"),
						      refusal->date_ms, clock_wall_ms());
	if (!take_region(refusal, http_header(response, "x-amz-bucket-region")))
		take_location(call, refusal, http_header(response, "Location"));
}

/* Stores what was learned. Called only after an answer, because a wrong region would be kept, but
 * before the body, because other ranges of the object may be requested meanwhile. */
static void remember(const struct call *call)
{
	struct s3_source *source = call->source;

	pthread_mutex_lock(&source->lock);
	if (call->has_tried_region)
		strcpy(source->region, call->region);
	if (call->has_tried_clock)
		source->clock_ahead_ms = call->clock_ahead_ms;
	pthread_mutex_unlock(&source->lock);
}

static int on_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct call *call = arg;
	const struct http_callbacks *callbacks = call->callbacks;
	int status = http_status(response);

	remember(call);
	if (status != 200 && status != 206 && status != 304) {
		take_refusal(call, response);
		return 0;
	}
	return callbacks->on_headers ? callbacks->on_headers(callbacks->arg, response, err) : 0;
}

static int on_body(void *arg, const void *data, size_t len, struct err *err)
{
	struct call *call = arg;
	const struct http_callbacks *callbacks = call->callbacks;
	struct refusal *refusal = &call->refusal;

	if (!refusal->status)
		return callbacks->on_body ? callbacks->on_body(callbacks->arg, data, len, err) : 0;
	if (!refusal->body && !(refusal->body = malloc(AWS_ERROR_BODY_MAX)))
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	if (len > AWS_ERROR_BODY_MAX - refusal->body_len)
		len = AWS_ERROR_BODY_MAX - refusal->body_len;
	memcpy(refusal->body + refusal->body_len, data, len);
	refusal->body_len += len;
	/* Ends the transfer; run() ignores this error. */
	if (refusal->body_len == AWS_ERROR_BODY_MAX)
		return err_set(err, ERR_BAD_DATA, "the body of an error is too long");
	return 0;
}

static void read_refusal(struct call *call)
{
	struct refusal *refusal = &call->refusal;
	const struct aws_error *error = &refusal->error;

	aws_error_read(refusal->body, refusal->body_len, &refusal->error);
	if (!refusal->region[0] && !take_region(refusal, error->region))
		s3_host_region(error->endpoint, call->source->location.bucket, refusal->region);
}

static void forget_refusal(struct refusal *refusal)
{
	free(refusal->body);
	*refusal = (struct refusal){ .retry_after_ms = FETCHED_UNKNOWN };
}

/* ---- one request ---- */

static size_t list_headers(const struct s3_source *source, const struct s3_sse_key *sse,
			   struct uri_pair ret[N_HEADERS_MAX])
{
	size_t n = 0;

	if (source->options->checksum != S3_CHECKSUM_OFF)
		ret[n++] = (struct uri_pair){ "x-amz-checksum-mode", "ENABLED" };
	if (source->options->requester_pays)
		ret[n++] = (struct uri_pair){ "x-amz-request-payer", "requester" };
	if (!source->options->sse_c_key_file)
		return n;
	ret[n++] = (struct uri_pair){ S3_SSE_C_ALGORITHM, "AES256" };
	ret[n++] = (struct uri_pair){ "x-amz-server-side-encryption-customer-key", sse->key };
	ret[n++] = (struct uri_pair){ "x-amz-server-side-encryption-customer-key-MD5", sse->md5 };
	return n;
}

static int sign(const struct call *call, const struct s3_address *address,
		const struct s3_sse_key *sse, struct sigv4_signed *ret, struct err *err)
{
	const struct s3_source *source = call->source;
	const struct s3_request *asked = call->asked;
	struct uri_pair headers[N_HEADERS_MAX];
	_cleanup_free_ struct uri_pair *query = calloc(asked->n_query + 1, sizeof(*query));
	size_t n_query = asked->n_query;

	if (!query)
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	if (n_query)
		memcpy(query, asked->query, n_query * sizeof(*query));
	if (source->options->version_id)
		query[n_query++] = (struct uri_pair){ "versionId", source->options->version_id };

	const struct sigv4_request request = {
		.method = method_of(call),
		.host = address->host,
		.path = address->path,
		.region = call->region,
		.service = "s3",
		.query = query,
		.n_query = n_query,
		.headers = headers,
		.n_headers = list_headers(source, sse, headers),
		.payload_sha256_hex = SIGV4_NO_PAYLOAD,
		.time_ms = clock_wall_ms() + call->clock_ahead_ms,
		.access_key = call->keys ? call->keys->access_key : NULL,
		.secret_key = call->keys ? call->keys->secret_key : NULL,
		.session_token = call->keys ? call->keys->session_token : NULL,
	};
	return sigv4_sign(&request, ret, err);
}

static int perform(struct call *call, const char *url, const struct sigv4_signed *signed_request,
		   struct err *err)
{
	const struct s3_source *source = call->source;
	const struct http_request request = {
		.method = method_of(call),
		.url = url,
		.headers = (const char *const *)signed_request->headers,
		.public_headers = call->asked->headers,
		.user_agent = "rptfs/" RPTFS_VERSION,
		.ca_file = source->options->ca_file,
		.proxy = source->options->proxy,
		.connect_timeout_ms = source->options->connect_timeout_ms,
		.stall_timeout_ms = source->options->stall_timeout_ms,
		.budget = call->ctx->budget,
		.max_redirects = 0,
		.path_as_is = true,
	};
	const struct http_callbacks callbacks = {
		.on_headers = on_headers,
		.on_body = on_body,
		.arg = call,
	};
	return http_perform(call->ctx->http, &request, &callbacks, err);
}

static int request_once(struct call *call, struct err *err)
{
	_cleanup_(s3_address_release) struct s3_address address = S3_ADDRESS_INIT;
	_cleanup_(sigv4_signed_release) struct sigv4_signed signed_request = SIGV4_SIGNED_INIT;
	_cleanup_secret_ struct s3_sse_key *sse = NULL;
	_cleanup_free_ char *url = NULL;
	const struct s3_source *source = call->source;

	if (!call->keys && aws_chain_keys(source->chain, call->ctx, &call->keys, err) < 0)
		return prefix(call, err);
	if (source->options->sse_c_key_file &&
	    s3_sse_key_read(&sse, call->ctx->helper, source->options->sse_c_key_file, err) < 0)
		return prefix(call, err);
	if (s3_address_make(&source->location, call->region, &address, err) < 0 ||
	    sign(call, &address, sse, &signed_request, err) < 0)
		return prefix(call, err);
	if (asprintf(&url, "%s%s%s", s3_scheme(&source->location), address.host,
		     signed_request.target) < 0) {
		url = NULL;
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	}
	return perform(call, url, &signed_request, err);
}

/* ---- corrections ---- */

static bool correct_region(struct call *call)
{
	const struct refusal *refusal = &call->refusal;
	int status = refusal->status;

	if (call->has_tried_region || !refusal->region[0] ||
	    strcmp(refusal->region, call->region) == 0 ||
	    !(status / 100 == 3 || status == 400 || status == 403))
		return false;
	call->has_tried_region = true;
	strcpy(call->region, refusal->region);
	return true;
}

static bool correct_clock(struct call *call)
{
	const struct refusal *refusal = &call->refusal;

	if (!call->keys || call->has_tried_clock || refusal->date_ms < 0 ||
	    s3_error_repair(&refusal->error) != S3_REPAIR_CLOCK)
		return false;
	int64_t ahead_ms = refusal->date_ms - clock_wall_ms();
	if (llabs(ahead_ms - call->clock_ahead_ms) < SKEW_MIN_MS)
		return false;
	call->has_tried_clock = true;
	call->clock_ahead_ms = ahead_ms;
	return true;
}

static bool is_same_key(const struct aws_keys *a, const struct aws_keys *b)
{
	const char *a_token = a->session_token ? a->session_token : "";
	const char *b_token = b->session_token ? b->session_token : "";

	return strcmp(a->access_key, b->access_key) == 0 && strcmp(a_token, b_token) == 0 &&
	       strcmp(a->secret_key, b->secret_key) == 0;
}

/* A second request makes sense only with other keys. S3 answers a HEAD with expired keys with a 400
 * that names no reason. */
static bool correct_keys(struct call *call)
{
	const struct refusal *refusal = &call->refusal;
	_cleanup_(aws_keys_free_cleanup) struct aws_keys *old = NULL;
	struct err err = ERR_INIT;

	if (!call->keys || call->has_tried_keys ||
	    (s3_error_repair(&refusal->error) != S3_REPAIR_KEYS &&
	     !(refusal->status == 400 && strcmp(method_of(call), "HEAD") == 0)))
		return false;
	call->has_tried_keys = true;
	old = steal_ptr(&call->keys);
	aws_chain_expired(call->source->chain, old);
	return aws_chain_keys(call->source->chain, call->ctx, &call->keys, &err) == 0 &&
	       call->keys && !is_same_key(call->keys, old);
}

static bool correct(struct call *call)
{
	return correct_region(call) || correct_clock(call) || correct_keys(call);
}

/* ---- a call ---- */

static int refuse(const struct call *call, struct err *err)
{
	const struct refusal *refusal = &call->refusal;
	char what[S3_SHOWN_SIZE + 16];
	const struct s3_error_about about = {
		.what = what_of(call, what),
		.region = call->region,
		.bucket_region = refusal->region,
		.status = refusal->status,
		.has_body = refusal->body_len > 0,
		.is_anonymous = call->source->options->anonymous,
		.is_deleted = refusal->is_deleted,
		.has_version_id = call->source->options->version_id,
		.has_sse_key = call->source->options->sse_c_key_file,
		.is_elsewhere = call->source->location.host &&
				!aws_is_host(call->source->location.host),
	};

	return s3_error_set(err, &about, &refusal->error);
}

static int run(struct call *call, struct err *err)
{
	for (;;) {
		forget_refusal(&call->refusal);
		int rc = request_once(call, err);
		if (!call->refusal.status || err->kind == ERR_CANCELED)
			return rc;
		*err = (struct err)ERR_INIT;
		read_refusal(call);
		if (correct(call))
			continue;
		if (cancel_requested(call->ctx->cancel))
			return err_set(err, ERR_CANCELED, "canceled");
		return refuse(call, err);
	}
}

static void report_failure(const struct call *call)
{
	struct s3_failure *ret = call->asked->ret_failure;
	const struct refusal *refusal = &call->refusal;

	if (!ret)
		return;
	*ret = (struct s3_failure){
		.status = refusal->status,
		.retry_after_ms = refusal->retry_after_ms,
	};
	memcpy(ret->code, refusal->error.code, sizeof(ret->code));
}

int s3_perform(struct s3_source *source, struct fetch_ctx *ctx, const struct s3_request *asked,
	       const struct http_callbacks *callbacks, struct err *err)
{
	struct call call = { .source = source, .ctx = ctx, .asked = asked, .callbacks = callbacks };

	pthread_mutex_lock(&source->lock);
	strcpy(call.region, source->region);
	call.clock_ahead_ms = source->clock_ahead_ms;
	pthread_mutex_unlock(&source->lock);
	int rc = run(&call, err);
	if (rc < 0)
		report_failure(&call);
	free(call.refusal.body);
	aws_keys_free(call.keys);
	return rc;
}
