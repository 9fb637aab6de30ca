/*
 * Unit tests of term/option: tables, texts and their types.
 */
#include "config/option.h"

#include "base/util.h"
#include "tap.h"

static int parse_even(const char *text, int64_t *ret, struct err *err)
{
	if (option_parse_int(text, ret, err) < 0)
		return -1;
	return *ret % 2 == 0 ? 0 : err_set(err, ERR_CONFIG, "%s is odd", text);
}

static const struct option_spec table[] = {
	{ .name = "url", .type = OPTION_STRING, .required = true },
	{ .name = "password", .type = OPTION_STRING, .secret = true },
	{ .name = "verify", .type = OPTION_BOOL, .default_text = "true" },
	{ .name = "redirects", .type = OPTION_INT, .default_text = "10" },
	{ .name = "timeout", .type = OPTION_DURATION, .default_text = "30s" },
	{ .name = "limit", .type = OPTION_SIZE },
	{ .name = "headers", .type = OPTION_STRINGS },
	{ .name = "even", .type = OPTION_CUSTOM, .parse = parse_even, .default_text = "4" },
	{ .name = "pin", .type = OPTION_INT, .secret = true },
	{ .name = NULL },
};

static void test_parse(void)
{
	struct err err = ERR_INIT;
	bool is_true = false;
	int64_t n = 77;
	uint64_t bytes = 77;

	ok(option_parse_bool("yes", &is_true, &err) == 0 && is_true, "yes");
	ok(option_parse_bool("Off", &is_true, &err) == 0 && !is_true, "Off");
	ok(option_parse_bool("1", &is_true, &err) < 0 && err.kind == ERR_CONFIG, "1 is no bool");

	ok(option_parse_int("-12", &n, &err) == 0 && n == -12, "-12");
	ok(option_parse_int("9223372036854775807", &n, &err) == 0 && n == INT64_MAX, "largest");
	static const char *const bad_ints[] = {
		"", "-", "+1", "1 ", " 1", "0x10", "1.5", "--1", "12k", "9223372036854775808"
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad_ints); i++)
		ok(option_parse_int(bad_ints[i], &n, &err) < 0 && n == INT64_MAX,
		   "\"%s\" is no int", bad_ints[i]);

	static const struct {
		const char *text;
		int64_t ms;
	} durations[] = { { "250ms", 250 },
			  { "30s", 30000 },
			  { "5m", 300000 },
			  { "12h", 43200000 },
			  { "7d", 604800000 },
			  { "0s", 0 },
			  { "3650d", OPTION_DURATION_MAX_MS } };
	for (size_t i = 0; i < ARRAY_SIZE(durations); i++)
		ok(option_parse_duration(durations[i].text, &n, &err) == 0 && n == durations[i].ms,
		   "%s", durations[i].text);
	static const char *const bad_durations[] = { "",
						     "5",
						     "s",
						     "5 m",
						     "5min",
						     "-5s",
						     "1.5h",
						     "3651d",
						     "99999999999999999999d",
						     "18446744073709551615ms",
						     "never",
						     "5S" };
	n = 77;
	for (size_t i = 0; i < ARRAY_SIZE(bad_durations); i++)
		ok(option_parse_duration(bad_durations[i], &n, &err) < 0 && n == 77,
		   "\"%s\" is no duration", bad_durations[i]);

	ok(option_parse_size("4096", &bytes, &err) == 0 && bytes == 4096, "4096");
	ok(option_parse_size("64KiB", &bytes, &err) == 0 && bytes == 65536, "64KiB");
	ok(option_parse_size("2TiB", &bytes, &err) == 0 && bytes == UINT64_C(2) << 40, "2TiB");
	static const char *const bad_sizes[] = { "",	  "1K", "1kb",	      "1MB",
						 "1 GiB", "-1", "99999999TiB" };
	for (size_t i = 0; i < ARRAY_SIZE(bad_sizes); i++)
		ok(option_parse_size(bad_sizes[i], &bytes, &err) < 0 && bytes == UINT64_C(2) << 40,
		   "\"%s\" is no size", bad_sizes[i]);
}

static void test_values(void)
{
	struct options *options = NULL;
	struct err err = ERR_INIT;
	size_t n = 9;

	ok(options_new(&options, table, &err) == 0, "new options");
	ok(options_table(options) == table, "the table");
	ok(options_check(options, &err) < 0, "url is missing");
	is_str(err.msg, "option \"url\" is required", "and the message says so");
	ok(!options_string(options, "url"), "no value");
	ok(options_bool(options, "verify"), "default bool");
	is_int(options_int(options, "redirects"), 10, "default int");
	is_int(options_duration_ms(options, "timeout"), 30000, "default duration");
	is_int(options_size_bytes(options, "limit"), 0, "no default");
	is_int(options_int(options, "even"), 4, "default of a custom type");
	ok(!options_strings(options, "headers", &n)[0] && n == 0, "empty list");
	is_str(options_text(options, "timeout"), "30s", "default as text");
	ok(!options_is_set(options, "timeout"), "a default is not set");

	ok(options_set(options, "url", "http://a", &err) == 0, "set");
	ok(options_set(options, "url", "http://b", &err) == 0, "set again");
	is_str(options_string(options, "url"), "http://b", "the last counts");
	ok(options_check(options, &err) == 0, "complete");
	ok(options_set(options, "verify", "no", &err) == 0 && !options_bool(options, "verify"),
	   "a bool");
	ok(options_set(options, "limit", "1MiB", &err) == 0, "a size");
	is_int(options_size_bytes(options, "limit"), 1048576, "its bytes");
	is_str(options_text(options, "limit"), "1MiB", "its text");
	ok(options_set(options, "even", "8", &err) == 0, "a custom type");
	is_int(options_int(options, "even"), 8, "its number");
	ok(options_set(options, "even", "7", &err) < 0, "refused by its parse");
	is_str(err.msg, "even: 7 is odd", "with its message");
	is_int(options_int(options, "even"), 8, "and the old value stays");

	for (int i = 0; i < 3; i++)
		options_set(options, "headers", i == 1 ? "b: 2" : "a: 1", &err);
	const char *const *headers = options_strings(options, "headers", &n);
	is_int(n, 3, "three elements");
	is_str(headers[1], "b: 2", "in their order");
	ok(!headers[3], "NULL at the end");

	ok(options_set(options, "urll", "x", &err) < 0 && err.kind == ERR_CONFIG, "unknown");
	is_str(err.msg, "unknown option \"urll\"", "by its name");
	ok(options_set(options, "pin", "hunter2", &err) < 0, "a secret of the wrong type");
	ok(!strstr(err.msg, "hunter2"), "is not in the message: %s", err.msg);
	options_free(options);
	options_free(NULL);
}

static uint64_t fingerprint(const char *kind, const char *const *pairs)
{
	struct options *options = NULL;
	struct err err = ERR_INIT;
	uint64_t print = 0;

	options_new(&options, table, &err);
	for (; *pairs; pairs += 2)
		options_set(options, pairs[0], pairs[1], &err);
	ok(options_fingerprint(options, kind, &print, &err) == 0, "fingerprint");
	options_free(options);
	return print;
}
#define PRINT(kind, ...) fingerprint((kind), (const char *const[]){ __VA_ARGS__, NULL })

static void test_fingerprint(void)
{
	uint64_t a = PRINT("http", "url", "a", "verify", "no");

	ok(a == PRINT("http", "verify", "no", "url", "a"), "order does not matter");
	ok(a == PRINT("http", "url", "a", "verify", "no", "password", "x"), "nor does a secret");
	ok(a != PRINT("http", "url", "b", "verify", "no"), "a value does");
	ok(a != PRINT("file", "url", "a", "verify", "no"), "and so does the kind");
	ok(PRINT("h", "headers", "ab", "headers", "c") !=
		   PRINT("h", "headers", "a", "headers", "bc"),
	   "elements do not run together");
}

static void test_nearest(void)
{
	is_str(option_nearest(table, "timeuot"), "timeout", "letters swapped");
	is_str(option_nearest(table, "header"), "headers", "one missing");
	is_str(option_nearest(table, "urll"), "url", "one too many");
	ok(!option_nearest(table, "colour"), "nothing near");
	ok(!option_nearest(table, ""), "nor for an empty name");
}

int main(void)
{
	test_parse();
	test_values();
	test_fingerprint();
	test_nearest();
	return tap_done();
}
