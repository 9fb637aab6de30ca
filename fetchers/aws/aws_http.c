#include "fetchers/aws/aws_http.h"

#include <string.h>

#include "base/secret.h"
#include "http/http.h"
#include "http/http_field.h"

static int take_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct aws_reply *reply = arg;

	(void)err;
	reply->status = http_status(response);
	reply->date_ms = http_date_ms(http_header(response, "Date"));
	return 0;
}

static int take_body(void *arg, const void *data, size_t len, struct err *err)
{
	struct aws_reply *reply = arg;

	if (len > AWS_BODY_MAX - reply->body_bytes)
		return err_set(err, ERR_UNREACHABLE, "an answer of more than %d KiB",
			       AWS_BODY_MAX / 1024);
	memcpy(reply->body + reply->body_bytes, data, len);
	reply->body_bytes += len;
	return 0;
}

int aws_http(struct fetch_ctx *ctx, const struct aws_http_request *ask, struct aws_reply *ret,
	     struct err *err)
{
	struct http_request request = {
		.method = ask->method,
		.url = ask->url,
		.headers = ask->headers,
		.user_agent = "rptfs/" RPTFS_VERSION,
		.body = ask->body,
		.body_bytes = ask->body_bytes,
		.connect_timeout_ms = ask->connect_timeout_ms,
		.stall_timeout_ms = ask->stall_timeout_ms,
		.budget = ctx->budget,
		.ca_file = ask->ca_file,
		.proxy = ask->is_local ? "" : NULL,
		.path_as_is = true,
	};
	struct http_callbacks callbacks = {
		.on_headers = take_headers,
		.on_body = take_body,
		.arg = ret,
	};

	ret->body = secret_new(AWS_BODY_MAX + 1);
	if (!ret->body)
		return err_set(err, ERR_INTERNAL, "credentials: out of memory");
	if (http_perform(ctx->http, &request, &callbacks, err) == 0)
		return 0;
	/* ERR_BAD_DATA would mean that the content of the term is bad. */
	if (err->kind == ERR_BAD_DATA)
		err->kind = ERR_UNREACHABLE;
	return -1;
}

void aws_reply_release(struct aws_reply *reply)
{
	secret_free(steal_ptr(&reply->body));
}

enum err_kind aws_status_kind(int status)
{
	return status == 429 || status >= 500 ? ERR_BUSY : ERR_DENIED;
}
