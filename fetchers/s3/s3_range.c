#include "fetchers/s3/s3_range.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "http/http_field.h"

#define TRIES	       4
#define FIRST_PAUSE_MS 100  /* tripled each time */
#define LONG_PAUSE_MS  2000 /* a longer Retry-After is left to the engine */

/* One call of s3_range_fetch(). */
struct call {
	const struct s3_range *range;
	uint64_t at; /* the next byte that is missing */
	int (*take)(void *arg, const void *data, size_t len, struct err *err);
	void *arg;
	bool is_changed, is_unfit;
	bool is_refused; /* take() failed */
};

static int on_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct call *call = arg;
	const char *etag = http_header(response, "ETag");
	struct http_content_range got;

	if (http_status(response) == 206 && etag &&
	    http_content_range_parse(http_header(response, "Content-Range"), &got)) {
		call->is_changed = strcmp(etag, call->range->etag) != 0 ||
				   got.size != call->range->size;
		call->is_unfit = got.first != call->at || got.end != call->range->end;
	} else {
		call->is_unfit = true;
	}
	if (call->is_changed || call->is_unfit)
		return err_set(err, ERR_BUSY, "the answer is another range than requested");
	return 0;
}

static int on_body(void *arg, const void *data, size_t len, struct err *err)
{
	struct call *call = arg;

	if (len > call->range->end - call->at) {
		call->is_unfit = true;
		return err_set(err, ERR_BUSY, "the answer is longer than the range");
	}
	if (call->take(call->arg, data, len, err) < 0) {
		call->is_refused = true;
		return -1;
	}
	call->at += len;
	return 0;
}

/* Requests the missing bytes. */
static int ask(struct call *call, struct s3_source *source, struct fetch_ctx *ctx,
	       struct s3_failure *ret_failure, struct err *err)
{
	char range[64], if_match[VERSION_SIZE + 16];
	const char *const lines[] = { range, if_match, NULL };
	const struct s3_request asked = { .headers = lines, .ret_failure = ret_failure };
	const struct http_callbacks callbacks = { on_headers, on_body, call };

	snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, call->at,
		 call->range->end - 1);
	snprintf(if_match, sizeof(if_match), "If-Match: %s", call->range->etag);
	if (s3_perform(source, ctx, &asked, &callbacks, err) < 0)
		return -1;
	if (call->at != call->range->end)
		return err_set(err, ERR_UNREACHABLE, "the transfer of a range ended early");
	return 0;
}

static bool may_retry(const struct call *call, const struct s3_failure *failure,
		      const struct err *err)
{
	return (err->kind == ERR_UNREACHABLE || err->kind == ERR_BUSY) && !call->is_refused &&
	       failure->retry_after_ms <= LONG_PAUSE_MS;
}

static void pause_ms(struct fetch_ctx *ctx, int64_t ms)
{
	struct pollfd pfd = { .fd = ctx->cancel->fd, .events = POLLIN };

	poll(&pfd, 1, (int)ms);
}

enum s3_range_result s3_range_fetch(struct s3_source *source, struct fetch_ctx *ctx,
				    const struct s3_range *range,
				    int (*take)(void *arg, const void *data, size_t len,
						struct err *err),
				    void *arg, int64_t *ret_retry_after_ms, struct err *err)
{
	struct call call = { .range = range, .at = range->first, .take = take, .arg = arg };
	struct s3_failure failure;
	int64_t wait_ms = FIRST_PAUSE_MS;

	for (int i = 1;; i++, wait_ms *= 3) {
		failure = (struct s3_failure){ .retry_after_ms = FETCHED_UNKNOWN };
		*err = (struct err)ERR_INIT;
		if (ask(&call, source, ctx, &failure, err) == 0)
			return S3_RANGE_OK;
		if (call.is_changed || failure.status == 412 || failure.status == 416)
			return S3_RANGE_CHANGED;
		/* The answer is wrong, not the object. */
		if (call.is_unfit || (err->kind == ERR_BAD_DATA && !call.is_refused))
			return S3_RANGE_UNFIT;
		if (i == TRIES || !may_retry(&call, &failure, err))
			break;
		pause_ms(ctx, wait_ms > failure.retry_after_ms ? wait_ms : failure.retry_after_ms);
		*err = (struct err)ERR_INIT;
		if (take(arg, "", 0, err) < 0)
			break;
	}
	*ret_retry_after_ms = failure.retry_after_ms;
	return S3_RANGE_FAILED;
}
