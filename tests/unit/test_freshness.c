/* freshness: Cache-Control, Age, Expires. */
#include "fetchers/http/freshness.h"

#include "tap.h"

#define MIN	30000
#define UNKNOWN HTTP_TIME_UNKNOWN

/* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOV_1994 INT64_C(784111777000)

static int64_t fresh(const char *cache_control, const char *age, const char *date,
		     const char *expires)
{
	struct cache_control control = CACHE_CONTROL_INIT;
	struct freshness_fields fields = { .age = age, .date = date, .expires = expires };

	if (cache_control)
		cache_control_add(&control, cache_control);
	return freshness_ms(&control, &fields, NOV_1994, MIN);
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
	struct freshness_fields fields = { .age = NULL };
	cache_control_add(&control, "public");
	cache_control_add(&control, "max-age=60");
	is_int(freshness_ms(&control, &fields, 0, MIN), 60000,
	       "directives may come in several lines");
}

static void test_freshness(void)
{
	const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";
	const char *later = "Sun, 06 Nov 1994 08:50:37 GMT";

	is_int(fresh("max-age=100", "40", NULL, NULL), 60000, "Age is subtracted");
	is_int(fresh("max-age=100", "1000", NULL, NULL), MIN,
	       "an Age above max-age gives the minimum");
	is_int(fresh("max-age=100", "x", NULL, NULL), 100000, "a malformed Age is ignored");
	is_int(fresh("max-age=100", "-40", NULL, NULL), 100000, "a negative Age is ignored");
	is_int(fresh("max-age=100", "99999999999999999999999", NULL, NULL), MIN,
	       "a huge Age gives the minimum");
	is_int(fresh(NULL, NULL, date, later), 60000, "Expires minus Date is the lifetime");
	is_int(fresh(NULL, "20", date, later), 40000, "Age is subtracted from it");
	is_int(fresh(NULL, NULL, NULL, later), 60000, "without Date, Expires counts from now");
	is_int(fresh(NULL, NULL, "yesterday", later), 60000,
	       "with a malformed Date, Expires counts from now");
	is_int(fresh(NULL, NULL, later, date), MIN,
	       "a response that has expired gives the minimum");
	is_int(fresh(NULL, NULL, date, "0"), MIN, "\"Expires: 0\" has expired");
	is_int(fresh(NULL, NULL, date, "-1"), MIN, "\"Expires: -1\" has expired");
	is_int(fresh(NULL, NULL, date, "tomorrow"), UNKNOWN, "a malformed Expires is ignored");
	is_int(fresh("max-age=100", NULL, date, later), 100000, "max-age comes before Expires");
	is_int(fresh("max-age=x", NULL, date, later), 60000,
	       "Expires counts if max-age is malformed");
	is_int(fresh(NULL, NULL, date, NULL), UNKNOWN, "without fields, freshness is unknown");
}

int main(void)
{
	test_cache_control();
	test_freshness();
	return tap_done();
}
