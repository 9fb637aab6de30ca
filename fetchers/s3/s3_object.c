/*
 * The life of a download (without an ETag, see s3_dated.h first):
 *
 *	GET ─┬─ 304 ────────────────────────────────────────────────────────────► unchanged
 *	     └─ 200 ── all of it, or its beginning while workers fetch the rest in
 *	               ranges (s3_parallel.h) ── checksum ─┬─ right, or none ───► updated
 *	                                                   └─ wrong ── once more, then refused
 *
 * Version, size and checksum come from the one 200 response, or from the 206 that resumes an
 * interrupted download. Every other request of the try has If-Match with its ETag. If the object
 * changes meanwhile, the bytes are dropped and the next try begins. From the third one on there are
 * no ranges: a single transfer is not disturbed when the object is overwritten. The state of the
 * checksum is part of the validator, so that a resumed download is checked as a whole.
 */
#include "fetchers/s3/s3_object.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "http/decode.h"
#include "http/http_field.h"
#include "fetchers/s3/s3_dated.h"
#include "fetchers/s3/s3_parallel.h"
#include "fetchers/s3/s3_request.h"
#include "fetchers/s3/s3_verify.h"
#include "fetchers/shared/http_version.h"
#include "fetchers/shared/media_type.h"

/* If one transfer is this fast, ranges gain nothing: the network is the limit, not the service. */
#define FAST_BYTES_PER_MS (200 * 1024)

#define TRIES	     6
#define TRIES_RANGES 2 /* the first ones, which may use ranges */
#define SIZE_UNKNOWN UINT64_MAX
#define LINE_SIZE    (VERSION_SIZE + 32)

/* One call of download or download_if_changed. */
struct download {
	struct s3_source *source;
	struct fetch_ctx *ctx;
	const struct version *have; /* NULL: none */
	struct sink *sink;
	struct fetched *ret;

	struct s3_verify verify;
	unsigned tries;
	bool is_one_transfer; /* ranges are not used any more */
	bool was_wrong;	      /* the checksum of an earlier try */

	/* The current try. */
	char etag[VERSION_SIZE];  /* of the bytes in the sink; empty: no strong one */
	uint64_t offset;	  /* where it began */
	uint64_t at;		  /* bytes in the sink */
	uint64_t size;		  /* of the object */
	uint64_t stop_at;	  /* where the first transfer ends */
	uint64_t judge_at;	  /* where its speed is measured; SIZE_UNKNOWN: never */
	int64_t began_ms;	  /* when the body began; boot clock */
	struct decoder *decoder;  /* owned; NULL: the bytes are taken as they are */
	struct s3_parallel *rest; /* owned; the bytes from stop_at on; NULL: none */
	bool is_conditional;	  /* the request has If-None-Match */
	bool is_unchanged;
	bool is_stopped; /* the first transfer was ended at stop_at */
	bool is_misfit;	 /* the answer to a Range cannot be used */
};

enum step { STEP_DONE, STEP_AGAIN, STEP_FAILED };

static int fail(const struct download *download, enum err_kind kind, const char *what,
		struct err *err)
{
	char shown[S3_SHOWN_SIZE];

	return err_set(err, kind, "GET %s: %s", s3_source_shown(download->source, shown), what);
}

/* ---- the response ---- */

/* Decimal digits only. */
static int64_t order_key_of(const char *version)
{
	char *end;

	if (!isdigit((unsigned char)version[0]))
		return FETCHED_UNKNOWN;
	errno = 0;
	long long key = strtoll(version, &end, 10);
	return errno || *end ? FETCHED_UNKNOWN : key;
}

static void describe_version(const struct download *download, const struct http_response *response)
{
	struct fetched *ret = download->ret;
	const char *name = download->source->options->version_header;
	const char *version = name ? http_header(response, name) : NULL;

	ret->shown_version[0] = '\0';
	ret->order_key = FETCHED_UNKNOWN;
	if (!version_is_usable(version))
		return;
	snprintf(ret->shown_version, sizeof(ret->shown_version), "%s", version);
	ret->order_key = order_key_of(version);
}

static void describe_response(struct download *download, const struct http_response *response)
{
	http_version_describe(response, download->is_unchanged ? download->have : NULL,
			      download->ret);
	describe_version(download, response);
}

/* ---- bytes ---- */

/* decoder_output */
static int take_decoded(void *arg, const void *data, size_t len, struct err *err)
{
	return sink_write(((struct download *)arg)->sink, data, len, err);
}

static int decode(struct download *download, const void *data, size_t len, struct err *err)
{
	char shown[S3_SHOWN_SIZE];

	if (decoder_feed(download->decoder, data, len, err) == 0)
		return 0;
	return err_prefix(err, "GET %s", s3_source_shown(download->source, shown));
}

static int take_bytes(void *arg, const void *data, size_t len, struct err *err)
{
	struct download *download = arg;

	if ((download->decoder ? decode(download, data, len, err)
			       : sink_write(download->sink, data, len, err)) < 0)
		return -1;
	download->at += len;
	return s3_verify_add(&download->verify, data, len, err);
}

static void start_ranges(struct download *download)
{
	struct s3_source *source = download->source;
	struct s3_range behind = {
		.etag = download->etag,
		.first = download->at + s3_parallel_range_bytes(source),
		.end = download->size,
		.size = download->size,
	};

	if (download->is_one_transfer || !download->etag[0] || download->size == SIZE_UNKNOWN ||
	    download->size - download->at <= source->options->part_size_bytes ||
	    behind.first >= behind.end)
		return;
	download->rest = s3_parallel_new(source, download->ctx, &behind);
	if (download->rest)
		download->stop_at = behind.first;
}

/* Uses ranges from the start if the configuration says so, otherwise when the first transfer turns
 * out to be slow. */
static void plan_ranges(struct download *download)
{
	download->stop_at = download->size;
	download->judge_at = SIZE_UNKNOWN;
	if (download->source->options->parallel_parts) {
		start_ranges(download);
		return;
	}
	download->judge_at = download->at + s3_parallel_range_bytes(download->source);
	download->began_ms = clock_boot_ms();
}

static void judge_speed(struct download *download)
{
	int64_t took_ms = clock_boot_ms() - download->began_ms;

	download->judge_at = SIZE_UNKNOWN;
	if (s3_parallel_range_bytes(download->source) < (uint64_t)took_ms * FAST_BYTES_PER_MS)
		start_ranges(download);
}

static void keep_etag(struct download *download)
{
	const char *token = download->ret->version.token;

	bool is_strong = strncmp(token, "W/", 2) != 0 && !http_version_is_date(token);
	snprintf(download->etag, sizeof(download->etag), "%s", is_strong ? token : "");
}

static int start_decoder(struct download *download, const struct http_response *response,
			 struct err *err)
{
	char shown[S3_SHOWN_SIZE];
	struct codings codings;

	http_codings(response, &codings);
	if (!codings.n)
		return 0;
	switch (download->source->options->content_coding) {
	case S3_CODING_AUTO:
		s3_source_warn(download->source, S3_WARNS_CODED);
		return 0;
	case S3_CODING_AS_SENT:
		return 0;
	case S3_CODING_DECODE:
		break;
	}
	if (decoder_new(&download->decoder, &codings, take_decoded, download, err) == 0)
		return 0;
	return err_prefix(err, "GET %s", s3_source_shown(download->source, shown));
}

static int take_whole(struct download *download, const struct http_response *response,
		      struct err *err)
{
	int64_t length = http_length(response);
	char shown[S3_SHOWN_SIZE];

	/* Must be first, so that a refused body is remembered by its token. */
	describe_response(download, response);
	if (!http_is_framed(response))
		return fail(download, ERR_BAD_DATA, "the response does not say where its body ends",
			    err);
	if (media_type_take(download->source->options->content_types, download->ret->content_type,
			    s3_source_shown(download->source, shown), err) < 0)
		return -1;
	if (download->is_conditional &&
	    strcmp(download->have->token, download->ret->version.token) == 0)
		s3_source_warn(download->source, S3_WARNS_UNCONDITIONAL);
	if (!*download->ret->version.token)
		s3_source_warn(download->source, S3_WARNS_NO_VERSION);
	s3_dated_note(&download->ret->version, response, length);
	if (download->offset && sink_restart(download->sink, err) < 0)
		return -1;
	download->offset = download->at = 0;
	download->size = length >= 0 ? (uint64_t)length : SIZE_UNKNOWN;
	keep_etag(download);
	if (start_decoder(download, response, err) < 0)
		return -1;
	if (length >= 0 && !download->decoder &&
	    sink_expect(download->sink, (uint64_t)length, err) < 0)
		return -1;
	if (s3_verify_start(&download->verify, response, download->etag, download->tries < TRIES,
			    err) < 0)
		return -1;
	/* The sink would count decoded bytes. */
	if (download->etag[0] && !download->decoder)
		sink_resumable(download->sink, download->etag);
	plan_ranges(download);
	return 0;
}

static int take_rest(struct download *download, const struct http_response *response,
		     struct err *err)
{
	const char *etag = http_header(response, "ETag");
	struct http_content_range range;

	if (!http_content_range_parse(http_header(response, "Content-Range"), &range) ||
	    range.first != download->offset || range.end != range.size || !etag ||
	    strcmp(etag, download->etag) != 0) {
		download->is_misfit = true;
		return fail(download, ERR_BAD_DATA, "206 with another range than requested", err);
	}
	describe_response(download, response);
	download->size = range.size;
	if (sink_expect(download->sink, range.size, err) < 0)
		return -1;
	sink_resumable(download->sink, download->etag);
	plan_ranges(download);
	return 0;
}

static int on_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct download *download = arg;
	int status = http_status(response);

	if (status == 200)
		return take_whole(download, response, err);
	if (status == 206 && download->offset)
		return take_rest(download, response, err);
	if (status == 304 && download->is_conditional) {
		if (!http_version_is_confirmed(response, download->have->token)) {
			download->is_misfit = true;
			download->have = NULL;
			return fail(download, ERR_BAD_DATA, "304 with another ETag", err);
		}
		download->is_unchanged = true;
		describe_response(download, response);
		return 0;
	}
	return fail(download, ERR_BAD_DATA,
		    status == 304 ? "304 to an unconditional request"
				  : "206 to a request without Range",
		    err);
}

static int on_body(void *arg, const void *data, size_t len, struct err *err)
{
	struct download *download = arg;
	uint64_t wanted = download->stop_at - download->at;

	if (len > wanted && !download->rest)
		return fail(download, ERR_BAD_DATA, "the body is longer than announced", err);
	if (take_bytes(download, data, len < wanted ? len : wanted, err) < 0)
		return -1;
	if (download->at >= download->judge_at)
		judge_speed(download);
	download->is_stopped = download->rest && download->at == download->stop_at;
	return download->is_stopped
		       ? fail(download, ERR_CANCELED, "the rest is fetched in ranges", err)
		       : 0;
}

/* ---- one try ---- */

static int request(struct download *download, struct s3_failure *ret_failure, struct err *err)
{
	char condition[LINE_SIZE], range[64];
	const char *lines[3] = { NULL };
	const struct s3_request asked = { .headers = lines, .ret_failure = ret_failure };
	const struct http_callbacks callbacks = { on_headers, on_body, download };

	download->is_conditional = !download->offset && download->have &&
				   !http_version_is_date(download->have->token);
	if (download->offset) {
		snprintf(condition, sizeof(condition), "If-Match: %s", download->etag);
		snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-", download->offset);
		lines[0] = condition;
		lines[1] = range;
	} else if (download->is_conditional) {
		snprintf(condition, sizeof(condition), "If-None-Match: %s", download->have->token);
		lines[0] = condition;
	}
	return s3_perform(download->source, download->ctx, &asked, &callbacks, err);
}

static enum step take_range(struct download *download, enum s3_range_result result)
{
	switch (result) {
	case S3_RANGE_OK:
		return STEP_DONE;
	case S3_RANGE_UNFIT:
		download->is_one_transfer = true;
		return STEP_AGAIN;
	case S3_RANGE_CHANGED:
		return STEP_AGAIN;
	case S3_RANGE_FAILED:
		break;
	}
	return STEP_FAILED;
}

/* The next attempt must not continue these bytes. */
static enum step drop_wrong(struct download *download)
{
	struct err ignored = ERR_INIT;

	sink_restart(download->sink, &ignored);
	download->etag[0] = '\0';
	return STEP_FAILED;
}

static enum step take_verified(struct download *download, enum s3_verify_result result)
{
	switch (result) {
	case S3_VERIFY_OK:
		return STEP_DONE;
	case S3_VERIFY_WRONG:
		if (download->was_wrong)
			return drop_wrong(download);
		download->was_wrong = download->is_one_transfer = true;
		return STEP_AGAIN;
	case S3_VERIFY_CHANGED:
		return STEP_AGAIN;
	case S3_VERIFY_FAILED:
		break;
	}
	return STEP_FAILED;
}

/* The answer can only be used by the next try. */
static enum step ask_part_sizes(struct download *download, struct err *err)
{
	enum step step = take_verified(download,
				       s3_verify_ask(&download->verify, download->size, err));

	return step == STEP_FAILED ? STEP_FAILED : STEP_AGAIN;
}

/* Fetches the rest of the first transfer, which broke off. The workers continue meanwhile. */
static enum step finish_first(struct download *download, struct err *err)
{
	const struct s3_range range = {
		.etag = download->etag,
		.first = download->at,
		.end = download->stop_at,
		.size = download->size,
	};

	return take_range(download,
			  s3_range_fetch(download->source, download->ctx, &range, take_bytes,
					 download, &download->ret->retry_after_ms, err));
}

static enum step first_transfer(struct download *download, struct err *err)
{
	struct s3_failure failure = { .retry_after_ms = FETCHED_UNKNOWN };

	if (request(download, &failure, err) == 0)
		return STEP_DONE;
	bool is_broken = download->rest && err->kind == ERR_UNREACHABLE;
	if (download->is_stopped || download->verify.is_asking || is_broken)
		*err = (struct err)ERR_INIT;
	if (download->is_stopped)
		return STEP_DONE;
	if (download->verify.is_asking)
		return ask_part_sizes(download, err);
	if (is_broken)
		return finish_first(download, err);
	if (download->is_misfit ||
	    (download->offset && (failure.status == 412 || failure.status == 416)))
		return STEP_AGAIN;
	download->ret->retry_after_ms = failure.retry_after_ms;
	return STEP_FAILED;
}

static enum step take_ranges(struct download *download, struct err *err)
{
	const void *data = NULL;
	size_t len = 0;

	while (download->rest) {
		enum step step = take_range(download,
					    s3_parallel_next(download->rest, &data, &len,
							     &download->ret->retry_after_ms, err));
		if (step != STEP_DONE || len == 0)
			return step;
		if (take_bytes(download, data, len, err) < 0)
			return STEP_FAILED;
	}
	return STEP_DONE;
}

static enum step try(struct download *download, struct err *err)
{
	enum step step = first_transfer(download, err);

	if (step != STEP_DONE || download->is_unchanged)
		return step;
	step = take_ranges(download, err);
	if (step != STEP_DONE)
		return step;
	if (download->size != SIZE_UNKNOWN && download->at != download->size) {
		fail(download, ERR_UNREACHABLE, "the transfer ended early", err);
		return STEP_FAILED;
	}
	step = take_verified(download, s3_verify_end(&download->verify, err));
	if (step == STEP_DONE && download->decoder && download->at &&
	    decoder_finish(download->decoder, err) < 0)
		return STEP_FAILED;
	return step;
}

/* ---- tries ---- */

static void release_try(struct download *download)
{
	s3_parallel_free(steal_ptr(&download->rest));
	decoder_free(steal_ptr(&download->decoder));
	s3_verify_reset(&download->verify);
}

static int start_over(struct download *download, struct err *err)
{
	release_try(download);
	download->etag[0] = '\0';
	download->offset = download->at = 0;
	download->size = SIZE_UNKNOWN;
	download->is_misfit = download->is_stopped = false;
	download->ret->version.token[0] = '\0';
	*err = (struct err)ERR_INIT;
	return sink_restart(download->sink, err);
}

/* The validator is the ETag, followed by a line with the state of the checksum. */
static void keep_state(struct download *download)
{
	char text[VERSION_SIZE + S3_CHECKSUM_TEXT_SIZE], state[S3_CHECKSUM_TEXT_SIZE];

	if (!download->etag[0] || download->decoder || !s3_verify_save(&download->verify, state))
		return;
	snprintf(text, sizeof(text), "%s\n%s", download->etag, state);
	sink_resumable(download->sink, text);
}

/* Looks for the bytes of an interrupted download in the sink. */
static int find_offset(struct download *download, struct err *err)
{
	const char *validator = NULL;
	uint64_t offset = sink_offset(download->sink, &validator);

	if (!offset)
		return 0;
	size_t len = validator ? strcspn(validator, "\n") : 0;
	if (len > 0 && len < sizeof(download->etag)) {
		memcpy(download->etag, validator, len);
		download->etag[len] = '\0';
		download->offset = download->at = offset;
		if (s3_verify_restore(&download->verify, validator[len] ? validator + len + 1 : "",
				      offset))
			return 0;
	}
	return start_over(download, err);
}

/* An object without an ETag: does it have to be fetched? */
static enum step ask_dated(struct download *download, struct err *err)
{
	struct s3_failure failure = { .retry_after_ms = FETCHED_UNKNOWN };

	switch (s3_dated_ask(download->source, download->ctx, download->have, &failure, err)) {
	case S3_DATED_SAME:
		download->is_unchanged = true;
		download->ret->version = *download->have;
		return STEP_DONE;
	case S3_DATED_NEWS:
		return STEP_AGAIN;
	case S3_DATED_FAILED:
		break;
	}
	download->ret->retry_after_ms = failure.retry_after_ms;
	return STEP_FAILED;
}

static enum step run(struct download *download, struct err *err)
{
	enum step step = STEP_AGAIN;

	if (find_offset(download, err) < 0)
		return STEP_FAILED;
	if (!download->offset && download->have && http_version_is_date(download->have->token))
		step = ask_dated(download, err);
	if (step != STEP_AGAIN)
		return step;
	for (download->tries = 1; download->tries <= TRIES; download->tries++) {
		if (download->tries > TRIES_RANGES)
			download->is_one_transfer = true;
		step = try(download, err);
		if (step == STEP_FAILED)
			keep_state(download);
		if (step != STEP_AGAIN)
			return step;
		if (start_over(download, err) < 0)
			return STEP_FAILED;
	}
	fail(download, ERR_BUSY, "the object keeps changing while it is downloaded", err);
	return STEP_FAILED;
}

enum fetch_result s3_object_download_if_changed(void *state, struct fetch_ctx *ctx,
						const struct version *have, struct sink *sink,
						struct fetched *ret, struct err *err)
{
	struct download download = {
		.source = state,
		.ctx = ctx,
		.have = have && version_is_usable(have->token) ? have : NULL,
		.sink = sink,
		.ret = ret,
		.verify = { .source = state, .ctx = ctx },
		.size = SIZE_UNKNOWN,
	};
	enum step step = run(&download, err);
	release_try(&download);
	if (step != STEP_DONE)
		return FETCH_FAILED;
	return download.is_unchanged ? FETCH_UNCHANGED : FETCH_UPDATED;
}

int s3_object_download(void *state, struct fetch_ctx *ctx, struct sink *sink, struct fetched *ret,
		       struct err *err)
{
	return s3_object_download_if_changed(state, ctx, NULL, sink, ret, err) == FETCH_FAILED ? -1
											       : 0;
}
