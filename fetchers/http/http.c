/*
 * http: content behind an http or https URL.
 *
 * The version token is the ETag exactly as sent, else the Last-Modified text exactly as sent; its
 * form shows which of the two it is. A Last-Modified that the next version may have as well proves
 * nothing, so the next request is made without condition. A 304 with another ETag or Content-Length
 * than the known one is not believed: the content is requested once more without condition.
 *
 * Content is a complete 200, or a 206 that continues an interrupted download of the same version at
 * the right byte. If the 206 does not fit, the bytes are dropped and the whole is requested once
 * more, in the same call.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "fetch/fetcher.h"
#include "http/http.h"
#include "http/http_field.h"
#include "fetchers/http/freshness.h"
#include "fetchers/http/http_notes.h"
#include "fetchers/http/http_secrets.h"
#include "fetchers/http/http_source.h"
#include "fetchers/registry.h"
#include "fetchers/shared/http_version.h"
#include "fetchers/shared/media_type.h"

/* RFC 9110, 8.8.2.2: how old a Last-Modified must be to be a strong validator. */
#define STRONG_AFTER_MS 60000

#define LINE_SIZE (VERSION_SIZE + 64)

/* One call of download or download_if_changed. */
struct download {
	const struct http_source *source;
	const struct version *have; /* NULL: none */
	struct sink *sink;
	struct fetched *ret;

	char validator[VERSION_SIZE]; /* of the bytes that are already in the sink */
	uint64_t offset;	      /* their number */
	uint64_t end;		      /* where the content ends; 0: unknown */
	uint64_t written;
	struct http_notes notes; /* on the version that is known, then on that of the answer */
	int64_t fresh_ms;	 /* from fresh_since_ms (boot clock) on; or FETCHED_UNKNOWN */
	int64_t fresh_since_ms;
	int64_t asked_ms; /* wall clock */
	bool is_conditional;
	bool is_unchanged;
	bool is_misfit;	     /* the answer to a Range cannot be used */
	bool is_doubtful;    /* the answer is a 304 that is not believed */
	int64_t news_length; /* that a disbelieved 304 announced; -1: there was none */
};

/* ---- tokens ---- */

/* Is the token a strong validator, by which a download may be resumed? */
static bool is_strong(const struct http_response *response, const char *token)
{
	int64_t date_ms = http_date_ms(http_header(response, "Date"));

	if (http_version_is_date(token))
		return date_ms != HTTP_TIME_UNKNOWN &&
		       date_ms - http_date_ms(token) >= STRONG_AFTER_MS;
	return token[0] == '"';
}

/* ---- the response ---- */

static const char *header(const void *arg, const char *name, size_t index)
{
	return http_header_at(arg, name, index);
}

static void take_freshness(struct download *download, const struct http_response *response)
{
	struct freshness *freshness = &download->notes.freshness;

	freshness_update(freshness, header, response);
	download->fresh_ms = freshness_ms(freshness, header, response, download->asked_ms,
					  clock_wall_ms());
	download->fresh_since_ms = clock_boot_ms();
}

/* length: of the whole content on the wire; -1: not announced. */
static void take_notes(struct download *download, const struct http_response *response,
		       int64_t length)
{
	struct http_notes *notes = &download->notes;
	const char *token = download->ret->version.token;
	const char *date = http_header(response, "Last-Modified");

	if (!download->is_unchanged) {
		*notes = (struct http_notes)HTTP_NOTES_INIT;
		notes->is_unproven = http_version_is_unproven(response, token);
	}
	if (length >= 0)
		notes->length = length;
	/* So that the next 304 is believed, even if the content has another length. */
	if (download->news_length >= 0)
		notes->length = download->news_length;
	if (date && http_version_is_date(date) && !http_version_is_date(token) &&
	    strlen(date) < sizeof(notes->last_modified))
		strcpy(notes->last_modified, date);
	if (download->source->options->http_cache)
		take_freshness(download, response);
	http_notes_write(notes, download->ret->version.notes);
}

static void describe_response(struct download *download, const struct http_response *response,
			      int64_t length)
{
	http_version_describe(response, download->is_unchanged ? download->have : NULL,
			      download->ret);
	take_notes(download, response, length);
}

/* ---- statuses ---- */

static enum err_kind kind_of_status(int status)
{
	if (status >= 500 || status == 408 || status == 425 || status == 429)
		return ERR_BUSY;
	if (status == 401 || status == 403 || status == 407)
		return ERR_DENIED;
	if (status == 404 || status == 410)
		return ERR_NOT_FOUND;
	return ERR_BAD_DATA;
}

static int fail(const struct download *download, enum err_kind kind, const char *what,
		struct err *err)
{
	return err_set(err, kind, "GET %s: %s", http_source_shown(download->source), what);
}

static int fail_status(struct download *download, const struct http_response *response,
		       struct err *err)
{
	int status = http_status(response);
	enum err_kind kind = kind_of_status(status);
	const char *user = download->source->options->user;
	char what[96];

	download->ret->retry_after_ms = http_retry_after_ms(
		http_header(response, "Retry-After"), http_date_ms(http_header(response, "Date")),
		clock_wall_ms());
	if (status == 304)
		snprintf(what, sizeof(what), "304 to an unconditional request");
	else if (http_is_redirect(status) && http_header(response, "Location"))
		snprintf(what, sizeof(what), "%d after %" PRIu32 " redirects", status,
			 download->source->options->max_redirects);
	else if (status < 300)
		snprintf(what, sizeof(what), "%d is not content", status);
	else if (status == 401 && user)
		snprintf(what, sizeof(what), "401 for the user \"%.64s\"", user);
	else
		snprintf(what, sizeof(what), "%d", status);
	return fail(download, kind, what, err);
}

/* ---- content ---- */

/* Do the bytes of the content differ from those on the wire? */
static bool is_decoded(const struct download *download, const struct http_response *response)
{
	return download->source->options->content_coding == HTTP_CODING_DECODE &&
	       http_is_coded(response);
}

static int take_whole(struct download *download, const struct http_response *response,
		      struct err *err)
{
	bool is_plain = !is_decoded(download, response);
	const char *token = http_version_token(response);
	int64_t length = http_length(response);

	/* Must be first, so that a refused body is remembered by its token. */
	describe_response(download, response, length);
	if (!http_is_framed(response) && !download->source->options->accept_unframed)
		return fail(download, ERR_BAD_DATA,
			    "the response does not say where its body ends (see accept_unframed)",
			    err);
	if (media_type_take(download->source->options->content_types, download->ret->content_type,
			    http_source_shown(download->source), err) < 0)
		return -1;
	if (download->offset && sink_restart(download->sink, err) < 0)
		return -1;
	download->offset = 0;
	if (is_plain && length >= 0 && sink_expect(download->sink, (uint64_t)length, err) < 0)
		return -1;
	if (is_plain && http_is_framed(response) && is_strong(response, token))
		sink_resumable(download->sink, token);
	return 0;
}

static bool has_validator(const struct http_response *response, const char *validator)
{
	const char *header = http_version_is_date(validator) ? "Last-Modified" : "ETag";
	const char *token = http_header(response, header);

	return token && strcmp(token, validator) == 0;
}

static int take_rest(struct download *download, const struct http_response *response,
		     struct err *err)
{
	int64_t length = http_length(response);
	struct http_content_range range;

	if (!http_content_range_parse(http_header(response, "Content-Range"), &range) ||
	    range.first != download->offset || range.end != range.size ||
	    !has_validator(response, download->validator) || is_decoded(download, response) ||
	    !http_is_framed(response) ||
	    (length >= 0 && (uint64_t)length != range.size - download->offset)) {
		download->is_misfit = true;
		return fail(download, ERR_BAD_DATA, "206 with another range than requested", err);
	}
	describe_response(download, response, (int64_t)range.size);
	if (sink_expect(download->sink, range.size, err) < 0)
		return -1;
	sink_resumable(download->sink, download->validator);
	download->end = range.size;
	return 0;
}

/* The length that a 304 announces, though it has no body; many servers write 0; -1: none. */
static int64_t length_of_unchanged(const struct http_response *response)
{
	const char *text = http_header(response, "Content-Length");
	char *end;

	if (!text || !isdigit((unsigned char)*text))
		return -1;
	long long length = strtoll(text, &end, 10);
	return *end || length == 0 ? -1 : length;
}

static int take_unchanged(struct download *download, const struct http_response *response,
			  struct err *err)
{
	int64_t length = length_of_unchanged(response), known = download->notes.length;

	if (!http_version_is_confirmed(response, download->have->token)) {
		download->is_doubtful = true;
		return fail(download, ERR_BAD_DATA, "304 with another ETag", err);
	}
	if (length >= 0 && known >= 0 && length != known) {
		download->is_doubtful = true;
		download->news_length = length;
		return fail(download, ERR_BAD_DATA, "304 with another Content-Length", err);
	}
	download->is_unchanged = true;
	describe_response(download, response, length);
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
	if (status == 304 && download->is_conditional)
		return take_unchanged(download, response, err);
	download->is_misfit = status == 416 && download->offset;
	return fail_status(download, response, err);
}

static int on_body(void *arg, const void *data, size_t len, struct err *err)
{
	struct download *download = arg;

	download->written += len;
	/* Bytes beyond the range must not reach the sink. */
	if (download->end && download->written > download->end - download->offset)
		return fail(download, ERR_BAD_DATA, "206 is longer than its range", err);
	return sink_write(download->sink, data, len, err);
}

/* ---- one request ---- */

static void add_line(char line[LINE_SIZE], const char *name, const char *value, const char **lines,
		     size_t *n)
{
	snprintf(line, LINE_SIZE, "%s: %s", name, value);
	lines[(*n)++] = line;
}

static int request(struct download *download, struct fetch_ctx *ctx,
		   const struct http_secrets *secrets, struct err *err)
{
	const struct http_source *source = download->source;
	const struct http_notes *notes = &download->notes;
	const char *known = download->have ? download->have->token : "";
	char etag[LINE_SIZE], date[LINE_SIZE], if_range[LINE_SIZE], range[64];
	const char *lines[6] = { NULL };
	size_t n = 0;

	bool accepts_coding = !download->offset &&
			      source->options->content_coding == HTTP_CODING_DECODE;

	download->is_conditional = *known && !notes->is_unproven;
	if (download->is_conditional && !http_version_is_date(known))
		add_line(etag, "If-None-Match", known, lines, &n);
	if (download->is_conditional && (http_version_is_date(known) || *notes->last_modified))
		add_line(date, "If-Modified-Since",
			 http_version_is_date(known) ? known : notes->last_modified, lines, &n);
	if (download->offset) {
		snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-", download->offset);
		lines[n++] = range;
		add_line(if_range, "If-Range", download->validator, lines, &n);
	}

	if (!accepts_coding)
		lines[n++] = "Accept-Encoding: identity";

	const struct http_request asked = {
		.url = source->options->url,
		.headers = source->options->headers,
		.public_headers = lines,
		.user_agent = source->options->user_agent,
		.user_password = secrets->user_password,
		.bearer_token = secrets->bearer_token,
		.client_cert_file = source->options->client_cert,
		.client_key_file = source->options->client_key,
		.ca_file = source->options->ca_file,
		.proxy = source->options->proxy,
		.unix_socket = source->options->unix_socket,
		.connect_timeout_ms = source->options->connect_timeout_ms,
		.stall_timeout_ms = source->options->stall_timeout_ms,
		.budget = ctx->budget,
		.max_redirects = source->options->max_redirects,
		.redirects_anywhere = source->options->redirects == HTTP_REDIRECTS_ANY,
		.accept_encoding = accepts_coding,
		.accept_unframed = source->options->accept_unframed,
	};
	const struct http_callbacks callbacks = {
		.on_headers = on_headers,
		.on_body = on_body,
		.arg = download,
	};
	download->asked_ms = clock_wall_ms();
	return http_perform(ctx->http, &asked, &callbacks, err);
}

/* Resumes an interrupted download if its validator is known. */
static int find_offset(struct download *download, struct err *err)
{
	const char *validator = NULL;
	uint64_t offset = sink_offset(download->sink, &validator);

	if (!offset)
		return 0;
	if (!version_is_usable(validator))
		return sink_restart(download->sink, err);
	snprintf(download->validator, sizeof(download->validator), "%s", validator);
	download->offset = offset;
	return 0;
}

static int run(struct download *download, struct fetch_ctx *ctx, struct err *err)
{
	_cleanup_(http_secrets_release) struct http_secrets secrets = { .bearer_token = NULL };

	if (http_secrets_read(download->source, ctx->helper, &secrets, err) < 0 ||
	    find_offset(download, err) < 0)
		return -1;
	int rc = request(download, ctx, &secrets, err);
	if (download->is_doubtful) {
		download->have = NULL;
		*err = (struct err)ERR_INIT;
		rc = request(download, ctx, &secrets, err);
	}
	if (download->is_misfit) {
		if (sink_restart(download->sink, err) < 0)
			return -1;
		download->offset = download->end = download->written = 0;
		download->is_misfit = false;
		*err = (struct err)ERR_INIT;
		rc = request(download, ctx, &secrets, err);
	}
	if (rc < 0)
		return -1;
	if (download->end && download->offset + download->written != download->end)
		return fail(download, ERR_UNREACHABLE, "the transfer of the rest ended early", err);
	return 0;
}

/* Counted from when the headers arrived, not from the end of the body. */
static int64_t fresh_for_ms(const struct download *download)
{
	const struct http_options *options = download->source->options;

	if (download->fresh_ms < 0)
		return FETCHED_UNKNOWN;
	int64_t left_ms = download->fresh_ms - (clock_boot_ms() - download->fresh_since_ms);
	return left_ms > options->min_refresh_ms ? left_ms : options->min_refresh_ms;
}

static enum fetch_result http_download_if_changed(void *state, struct fetch_ctx *ctx,
						  const struct version *have, struct sink *sink,
						  struct fetched *ret, struct err *err)
{
	struct download download = {
		.source = state,
		.have = have && version_is_usable(have->token) ? have : NULL,
		.sink = sink,
		.ret = ret,
		.notes = HTTP_NOTES_INIT,
		.fresh_ms = FETCHED_UNKNOWN,
		.news_length = -1,
	};

	if (download.have)
		http_notes_read(&download.notes, have->notes);
	if (run(&download, ctx, err) < 0)
		return FETCH_FAILED;
	ret->fresh_for_ms = fresh_for_ms(&download);
	return download.is_unchanged ? FETCH_UNCHANGED : FETCH_UPDATED;
}

static int http_download(void *state, struct fetch_ctx *ctx, struct sink *sink, struct fetched *ret,
			 struct err *err)
{
	return http_download_if_changed(state, ctx, NULL, sink, ret, err) == FETCH_FAILED ? -1 : 0;
}

static const char *const url_schemes[] = { "http", "https", NULL };

const struct fetcher_ops fetcher_http = {
	.type = {
		.name = "http",
		.help = "content behind an http or https URL",
		.options = &http_source_options,
		.check = http_source_check,
		.init = http_source_init,
		.free = http_source_free,
		.describe = http_source_describe,
		.url_schemes = url_schemes,
		.from_url = http_source_from_url,
	},
	.download = http_download,
	.download_if_changed = http_download_if_changed,
	.origin = http_source_origin,
};
