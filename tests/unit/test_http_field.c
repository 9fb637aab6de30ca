/* http_field: dates, Retry-After, Content-Range. */
#include "http/http_field.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "tap.h"

#define UNKNOWN HTTP_TIME_UNKNOWN

/* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOV_1994 INT64_C(784111777000)

static void test_dates(void)
{
	static const struct {
		const char *text;
		int64_t ms;
	} dates[] = {
		{ "Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994 },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", NOV_1994 },
		{ "Sun Nov  6 08:49:37 1994", NOV_1994 },
		{ "Sun, 6 Nov 1994 08:49:37 GMT", NOV_1994 },
		{ "  Sun, 06 Nov 1994 08:49:37 GMT  ", NOV_1994 },
		{ "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
		{ "Fri, 31 Dec 2100 23:59:59 GMT", INT64_C(4133980799000) },
		{ "Sun, 06 Nov 1994 08:49:37 gmt", NOV_1994 },
		{ "Sun, 06 Nov 1994 08:49:37 UTC", NOV_1994 },
		{ "Tue, 29 Feb 2000 00:00:00 GMT", INT64_C(951782400000) },
		{ "Sat, 31 Dec 2016 23:59:60 GMT", INT64_C(1483228800000) },
		{ "Sun, 31 Feb 1999 08:49:37 GMT", UNKNOWN },
		{ "Mon, 29 Feb 1999 08:49:37 GMT", UNKNOWN },
		{ "Mon, 29 Feb 2100 08:49:37 GMT", UNKNOWN },
		{ "Sun, 06 Nov 1994 08:49:37", UNKNOWN },
		{ "Sun, 06 Nov 1994 08:49:37 CET", UNKNOWN },
		{ "Sun, 06 Nov 1994 08:49:37 GMT and more", UNKNOWN },
		{ "Sun, 06 Foo 1994 08:49:37 GMT", UNKNOWN },
		{ "Sun, 32 Nov 1994 08:49:37 GMT", UNKNOWN },
		{ "Sun, 06 Nov 1994 24:49:37 GMT", UNKNOWN },
		{ "Tue, 06 Nov 1900 08:49:37 GMT", INT64_C(-2182259423000) },
		{ "Mon, 01 Jan 0001 00:00:00 GMT", INT64_C(-62135596800000) },
		{ "Fri, 31 Dec 9999 23:59:59 GMT", INT64_C(253402300799000) },
		{ "Fri, 31 Dec 9999 23:59:60 GMT", UNKNOWN },
		{ "Sat, 01 Jan 0000 00:00:00 GMT", UNKNOWN },
		{ "Sun, -6 Nov 1994 08:49:37 GMT", UNKNOWN },
		{ "1994-11-06T08:49:37Z", UNKNOWN },
		{ "0", UNKNOWN },
		{ "", UNKNOWN },
		{ NULL, UNKNOWN },
	};

	for (size_t i = 0; i < sizeof(dates) / sizeof(*dates); i++)
		is_int(http_date_ms(dates[i].text), dates[i].ms, "date \"%s\"",
		       dates[i].text ? dates[i].text : "(none)");
}

/* RFC 9110, 5.6.7: at most 50 years ahead. */
static void test_two_digit_years(void)
{
	static const int ahead[] = { -49, -1, 0, 1, 49, 50 };
	time_t now_s = time(NULL);
	struct tm now, tm;
	char text[64];

	gmtime_r(&now_s, &now);
	for (size_t i = 0; i < sizeof(ahead) / sizeof(*ahead); i++) {
		int year = now.tm_year + 1900 + ahead[i];
		snprintf(text, sizeof(text), "Sunday, 06-Nov-%02d 08:49:37 GMT", year % 100);
		time_t read_s = http_date_ms(text) / 1000;
		gmtime_r(&read_s, &tm);
		is_int(tm.tm_year + 1900, year, "%s", text);
	}
}

static void test_retry_after(void)
{
	const char *later = "Sun, 06 Nov 1994 08:50:37 GMT";

	is_int(http_retry_after_ms("120", UNKNOWN, 0), 120000, "a number of seconds is accepted");
	is_int(http_retry_after_ms(" 120 ", UNKNOWN, 0), 120000, "spaces are ignored");
	is_int(http_retry_after_ms("0", UNKNOWN, 0), 0, "zero is accepted");
	is_int(http_retry_after_ms(later, NOV_1994, 0), 60000, "a date is relative to Date");
	is_int(http_retry_after_ms(later, UNKNOWN, NOV_1994 + 1000), 59000,
	       "a date is relative to now without Date");
	is_int(http_retry_after_ms(later, UNKNOWN, NOV_1994 * 2), 0,
	       "a date in the past gives zero");
	is_int(http_retry_after_ms("99999999999999999999999", UNKNOWN, 0), HTTP_RETRY_AFTER_MAX_MS,
	       "a long time is limited to a day");
	is_int(http_retry_after_ms("-5", UNKNOWN, 0), UNKNOWN, "a negative number is refused");
	is_int(http_retry_after_ms("soon", UNKNOWN, 0), UNKNOWN, "malformed text is refused");
	is_int(http_retry_after_ms("", UNKNOWN, 0), UNKNOWN, "an empty text is refused");
	is_int(http_retry_after_ms(NULL, UNKNOWN, 0), UNKNOWN, "a missing text is refused");
}

static void test_content_range(void)
{
	static const char *const bad[] = {
		"bytes 5-4/10",
		"bytes 0-10/10",
		"bytes 0-0/0",
		"bytes */10",
		"bytes 0-4/*",
		"bytes 0-4/10 ",
		"bytes 0-4/10x",
		"bytes -4/10",
		"bytes  0-4/10",
		"items 0-4/10",
		"bytes 0-4",
		"bytes",
		"bytes "
		"0-00000000000000000000000000000000000000000000000000000000000000000000004/10",
		"",
		NULL,
	};
	struct http_content_range range = { .size = 7 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(!http_content_range_parse(bad[i], &range) && range.size == 7,
		   "not a range: \"%s\"", bad[i] ? bad[i] : "\"%s\" is not a range");
	ok(http_content_range_parse("bytes 2-5/10", &range) && range.first == 2 && range.end == 6 &&
		   range.size == 10,
	   "a range is accepted");
	ok(http_content_range_parse("Bytes 0-0/1", &range) && range.first == 0 && range.end == 1,
	   "a range of one byte with the unit in another case is accepted");
	ok(http_content_range_parse("bytes 0-18446744073709551613/18446744073709551614", &range) &&
		   range.end == UINT64_MAX - 1,
	   "the largest numbers are accepted");
}

int main(void)
{
	test_dates();
	test_two_digit_years();
	test_retry_after();
	test_content_range();
	return tap_done();
}
