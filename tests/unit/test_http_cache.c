/* http_cache: dates, Retry-After, Cache-Control, freshness. */
#include "fetchers/http/http_cache.h"

#include "tap.h"

#define MIN	30000
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
		{ "Sun, 06 Nov 1994 08:49:37", UNKNOWN },
		{ "Sun, 06 Nov 1994 08:49:37 CET", UNKNOWN },
		{ "Sun, 06 Nov 1994 08:49:37 GMT and more", UNKNOWN },
		{ "Sun, 06 Foo 1994 08:49:37 GMT", UNKNOWN },
		{ "Sun, 32 Nov 1994 08:49:37 GMT", UNKNOWN },
		{ "Sun, 06 Nov 1994 24:49:37 GMT", UNKNOWN },
		{ "Sun, 06 Nov 1900 08:49:37 GMT", UNKNOWN },
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

static void test_retry_after(void)
{
	const char *later = "Sun, 06 Nov 1994 08:50:37 GMT";

	is_int(http_retry_after_ms("120", UNKNOWN, 0), 120000, "seconds");
	is_int(http_retry_after_ms(" 120 ", UNKNOWN, 0), 120000, "with spaces");
	is_int(http_retry_after_ms("0", UNKNOWN, 0), 0, "zero");
	is_int(http_retry_after_ms(later, NOV_1994, 0), 60000, "a date, from Date");
	is_int(http_retry_after_ms(later, UNKNOWN, NOV_1994 + 1000), 59000, "a date, from now");
	is_int(http_retry_after_ms(later, UNKNOWN, NOV_1994 * 2), 0, "a date in the past");
	is_int(http_retry_after_ms("99999999999999999999999", UNKNOWN, 0), HTTP_RETRY_AFTER_MAX_MS,
	       "not longer than a day");
	is_int(http_retry_after_ms("-5", UNKNOWN, 0), UNKNOWN, "negative");
	is_int(http_retry_after_ms("soon", UNKNOWN, 0), UNKNOWN, "malformed");
	is_int(http_retry_after_ms("", UNKNOWN, 0), UNKNOWN, "empty");
	is_int(http_retry_after_ms(NULL, UNKNOWN, 0), UNKNOWN, "missing");
}

static int64_t fresh(const char *cache_control, const char *age, const char *date,
		     const char *expires)
{
	struct cache_control control = CACHE_CONTROL_INIT;
	struct cache_times times = { .age = age, .date = date, .expires = expires };

	if (cache_control)
		cache_control_add(&control, cache_control);
	return http_fresh_for_ms(&control, &times, NOV_1994, MIN);
}

static void test_cache_control(void)
{
	static const struct {
		const char *line;
		int64_t ms;
	} lines[] = {
		{ "max-age=60", 60000 },
		{ "public, max-age=60", 60000 },
		{ "MAX-AGE=60", 60000 },
		{ "max-age=\"60\"", 60000 },
		{ "max-age=60 , public", 60000 },
		{ ",, max-age=60,,", 60000 },
		{ "max-age=60, s-maxage=600", 60000 },
		{ "s-maxage=600", UNKNOWN },
		{ "max-age=60, max-age=90", 60000 },
		{ "max-age=5", MIN },
		{ "max-age=0", MIN },
		{ "no-cache", MIN },
		{ "no-store, max-age=600", MIN },
		{ "no-cache=\"set-cookie, x\", max-age=60", 60000 },
		{ "x=\"max-age=1, no-cache\", max-age=60", 60000 },
		{ "x=\"\\\", no-cache\", max-age=60", 60000 },
		{ "x=\"never closed, max-age=60", UNKNOWN },
		{ "max-age=99999999999999999999", INT64_C(2147483648000) },
		{ "max-age=-1", UNKNOWN },
		{ "max-age=abc", UNKNOWN },
		{ "max-age=1.5", UNKNOWN },
		{ "max-age=", UNKNOWN },
		{ "max-age", UNKNOWN },
		{ "max-age=\"", UNKNOWN },
		{ "xmax-age=60", UNKNOWN },
		{ "", UNKNOWN },
		{ NULL, UNKNOWN },
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		is_int(fresh(lines[i].line, NULL, NULL, NULL), lines[i].ms, "Cache-Control: %s",
		       lines[i].line ? lines[i].line : "(none)");

	struct cache_control control = CACHE_CONTROL_INIT;
	struct cache_times times = { .age = NULL };
	cache_control_add(&control, "public");
	cache_control_add(&control, "max-age=60");
	is_int(http_fresh_for_ms(&control, &times, 0, MIN), 60000, "in several lines");
}

static void test_freshness(void)
{
	const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";
	const char *later = "Sun, 06 Nov 1994 08:50:37 GMT";

	is_int(fresh("max-age=100", "40", NULL, NULL), 60000, "Age counts");
	is_int(fresh("max-age=100", "1000", NULL, NULL), MIN, "older than it may be");
	is_int(fresh("max-age=100", "x", NULL, NULL), 100000, "a malformed Age does not");
	is_int(fresh("max-age=100", "-40", NULL, NULL), 100000, "nor a negative one");
	is_int(fresh("max-age=100", "99999999999999999999999", NULL, NULL), MIN, "a huge Age");
	is_int(fresh(NULL, NULL, date, later), 60000, "Expires - Date");
	is_int(fresh(NULL, "20", date, later), 40000, "less Age");
	is_int(fresh(NULL, NULL, NULL, later), 60000, "without Date from now");
	is_int(fresh(NULL, NULL, "yesterday", later), 60000, "with a malformed one too");
	is_int(fresh(NULL, NULL, later, date), MIN, "expired");
	is_int(fresh(NULL, NULL, date, "0"), MIN, "Expires: 0 is expired");
	is_int(fresh(NULL, NULL, date, "-1"), MIN, "and -1");
	is_int(fresh(NULL, NULL, date, "tomorrow"), UNKNOWN, "malformed Expires");
	is_int(fresh("max-age=100", NULL, date, later), 100000, "max-age before Expires");
	is_int(fresh("max-age=x", NULL, date, later), 60000, "unless it is malformed");
	is_int(fresh(NULL, NULL, date, NULL), UNKNOWN, "nothing said");
}

int main(void)
{
	test_dates();
	test_retry_after();
	test_cache_control();
	test_freshness();
	return tap_done();
}
