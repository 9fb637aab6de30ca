/*
 * Fields of a response that are read one by one: dates, Retry-After, Content-Range,
 * Content-Encoding, Content-Type, ETag.
 */
#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "fetch/fetcher.h"
#include "fetchers/shared/media_type.h"
#include "fuzz.h"
#include "http/decode.h"
#include "http/http_field.h"

static void check_date(const char *text)
{
	int64_t ms = http_date_ms(text), exact_ms = http_date_exact_ms(text);
	struct timespec date = http_date(text);
	char again[64];
	struct tm tm;

	fuzz_check(exact_ms == HTTP_TIME_UNKNOWN || (exact_ms == ms && ms >= 0));
	if (ms == HTTP_TIME_UNKNOWN) {
		fuzz_check(!clock_is_time(date));
		return;
	}
	time_t seconds = date.tv_sec;
	fuzz_check(ms % MS_PER_S == 0 && seconds == ms / MS_PER_S && date.tv_nsec == 0);
	gmtime_r(&seconds, &tm);
	fuzz_check(strftime(again, sizeof(again), "%a, %d %b %Y %H:%M:%S GMT", &tm));
	fuzz_check(http_date_ms(again) == ms);
}

static void check_retry_after(const char *text, int64_t date_ms)
{
	int64_t ms = http_retry_after_ms(text, date_ms, INT64_C(1800000000000));

	fuzz_check(ms == HTTP_TIME_UNKNOWN || (ms >= 0 && ms <= HTTP_RETRY_AFTER_MAX_MS));
	int64_t seconds = http_delta_seconds(text, strlen(text));
	fuzz_check(seconds == HTTP_TIME_UNKNOWN || (seconds >= 0 && ms >= 0));
}

static void check_content_range(const char *text)
{
	struct http_content_range range = { .size = 0 }, again = { .size = 0 };
	char printed[80];

	if (!http_content_range_parse(text, &range))
		return;
	fuzz_check(range.first < range.end && range.end <= range.size);
	snprintf(printed, sizeof(printed), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range.first,
		 range.end - 1, range.size);
	fuzz_check(http_content_range_parse(printed, &again));
	fuzz_check(memcmp(&range, &again, sizeof(range)) == 0);
}

static int drop(void *arg, const void *data, size_t len, struct err *err)
{
	(void)arg, (void)data, (void)len, (void)err;
	return 0;
}

static void check_codings(const char *text)
{
	struct codings codings = { .n = 0 };
	struct decoder *decoder = NULL;
	struct err err = ERR_INIT;

	codings_add(&codings, text);
	fuzz_check(!codings.n == !*codings.name && strlen(codings.name) < sizeof(codings.name));
	if (codings.n && decoder_new(&decoder, &codings, drop, NULL, &err) == 0)
		fuzz_check(codings.n == 1);
	else
		fuzz_check(!codings.n || err.kind == ERR_BAD_DATA);
	decoder_free(decoder);
}

static void check_media_type(const char *text)
{
	const char *const wanted[] = { "text/*", "application/json", NULL };
	const char *const itself[] = { text, NULL };
	struct err err = ERR_INIT;

	if (media_type_take(wanted, text, "fuzz", &err) == 0)
		fuzz_check(strncasecmp(text, "text/", 5) == 0 ||
			   strncasecmp(text, "application/json", 16) == 0);
	if (media_type_check(text, &err) == 0 && !strchr(text, '*'))
		fuzz_check(media_type_take(itself, text, "fuzz", &err) == 0);
}

/* A token comes back from the text that the store keeps. */
static void check_token(const char *text)
{
	struct version version = { .sent_at_ms = 5 }, again;
	char kept[VERSION_TEXT_SIZE], shown[VERSION_SIZE];

	fuzz_check(strlen(version_display(text, shown)) < sizeof(shown));
	version_read(&again, text);
	if (!version_is_usable(text))
		return;
	snprintf(version.token, sizeof(version.token), "%s", text);
	version_read(&again, version_text(&version, kept));
	fuzz_check(strcmp(again.token, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	int64_t date_ms = HTTP_TIME_UNKNOWN;

	for (char *line; (line = fuzz_line(&input)); free(line)) {
		check_date(line);
		check_retry_after(line, date_ms);
		check_content_range(line);
		check_codings(line);
		check_media_type(line);
		check_token(line);
		date_ms = http_date_ms(line);
	}
	return 0;
}
