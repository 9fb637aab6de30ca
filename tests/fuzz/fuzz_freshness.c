/*
 * How long a response is fresh, and what the store keeps of its fields.
 *
 * The input is two numbers (when the request was sent, and the time now, in seconds) and the
 * headers of a response; after an empty line those of a 304.
 */
#include <inttypes.h>
#include <strings.h>

#include "base/clock.h"
#include "fetchers/http/http_notes.h"
#include "fuzz.h"

#define HEADERS_MAX 32

struct headers {
	char *lines[HEADERS_MAX]; /* owned; "Name", and the value behind its NUL */
	size_t n;
};

static void headers_release(struct headers *headers)
{
	for (size_t i = 0; i < headers->n; i++)
		free(headers->lines[i]);
}

/* Up to an empty line. */
static void read_headers(struct fuzz_input *input, struct headers *ret)
{
	char *line;

	while (ret->n < HEADERS_MAX && (line = fuzz_line(input))) {
		char *colon = strchr(line, ':');

		if (!colon) {
			bool is_end = !*line;
			free(line);
			if (is_end)
				return;
			continue;
		}
		*colon = '\0';
		ret->lines[ret->n++] = line;
	}
}

static const char *find(const void *arg, const char *name, size_t index)
{
	const struct headers *headers = arg;

	for (size_t i = 0; i < headers->n; i++) {
		const char *value = headers->lines[i] + strlen(headers->lines[i]) + 1;
		if (strcasecmp(headers->lines[i], name) == 0 && index-- == 0)
			return value + strspn(value, " \t");
	}
	return NULL;
}

static void check_lifetime(const struct freshness *freshness, const struct headers *headers,
			   int64_t asked_ms, int64_t now_ms)
{
	int64_t ms = freshness_ms(freshness, find, headers, asked_ms, now_ms);

	fuzz_check(freshness->max_age_s == HTTP_TIME_UNKNOWN ||
		   (freshness->max_age_s >= 0 && freshness->max_age_s <= INT64_C(1) << 31));
	fuzz_check(freshness->expires_ms == HTTP_TIME_UNKNOWN || freshness->expires_ms >= 0);
	if (freshness->must_ask || freshness->varies)
		fuzz_check(ms == 0);
	else if (freshness->max_age_s >= 0)
		fuzz_check(ms >= 0 && ms <= freshness->max_age_s * MS_PER_S);
	else if (freshness->expires_ms >= 0)
		fuzz_check(ms >= 0 && ms <= freshness->expires_ms);
	else
		fuzz_check(ms == HTTP_TIME_UNKNOWN);
}

/* Notes say the same again after they were read. */
static void check_notes(const struct http_notes *notes)
{
	char kept[VERSION_NOTES_SIZE], again[VERSION_NOTES_SIZE];
	struct http_notes read;

	http_notes_write(notes, kept);
	http_notes_read(&read, kept);
	http_notes_write(&read, again);
	fuzz_check(strcmp(kept, again) == 0);
	fuzz_check(read.freshness.max_age_s == notes->freshness.max_age_s);
	fuzz_check(read.freshness.must_ask == notes->freshness.must_ask);
	fuzz_check(read.freshness.varies == notes->freshness.varies);
	fuzz_check(read.length == notes->length && read.is_unproven == notes->is_unproven);
	fuzz_check(strcmp(read.last_modified, notes->last_modified) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct http_notes notes = HTTP_NOTES_INIT, any;
	_cleanup_free_ char *times = fuzz_line(&input);
	uint32_t asked_s = 0, now_s = 0;

	if (!times)
		return 0;
	sscanf(times, "%" SCNu32 " %" SCNu32, &asked_s, &now_s);
	for (int response = 0; response < 2; response++) {
		_cleanup_(headers_release) struct headers headers = { .n = 0 };
		read_headers(&input, &headers);
		freshness_update(&notes.freshness, find, &headers);
		check_lifetime(&notes.freshness, &headers, asked_s * INT64_C(1000),
			       now_s * INT64_C(1000));
		const char *date = find(&headers, "Last-Modified", 0);
		snprintf(notes.last_modified, sizeof(notes.last_modified), "%s", date ? date : "");
		notes.length = now_s;
		check_notes(&notes);
	}
	http_notes_read(&any, times);
	check_notes(&any);
	return 0;
}
