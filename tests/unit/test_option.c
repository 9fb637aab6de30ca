/*
 * option: rows, texts and values; fingerprint and legacy_fingerprint: which changes count.
 */
#include "config/option.h"

#include "base/digest.h"
#include "base/util.h"
#include "config/fingerprint.h"
#include "config/legacy_fingerprint.h"
#include "make_options.h"
#include "tap.h"

enum colour { RED, GREEN, BLUE };

struct values {
	const char *url, *password;
	const char *const *headers;
	int64_t timeout_ms, expiry_ms;
	uint64_t limit_bytes;
	uint32_t redirects;
	enum colour colour;
	bool verify;
};

static const char *const colours[] = { "red", "green", "blue", NULL };

static int check_header(const char *text, struct err *err)
{
	return strchr(text, ':') ? 0 : err_set(err, ERR_CONFIG, "no colon");
}

static bool is_credential(const char *element)
{
	return strncmp(element, "Token:", 6) == 0;
}

static const struct option_spec rows[] = {
	{ .name = "url",
	  .type = OPTION_STRING,
	  OPTION_FIELD(values, url),
	  .role = OPTION_IDENTITY,
	  .required = true },
	{ .name = "password",
	  .type = OPTION_STRING,
	  OPTION_FIELD(values, password),
	  .role = OPTION_MANNER,
	  .secret = true },
	{ .name = "verify",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(values, verify),
	  .role = OPTION_JUDGE,
	  .default_text = "true" },
	{ .name = "redirects",
	  .type = OPTION_NUMBER,
	  OPTION_FIELD(values, redirects),
	  .role = OPTION_MANNER,
	  .max = 50,
	  .default_text = "10" },
	{ .name = "timeout",
	  .type = OPTION_DURATION,
	  OPTION_FIELD(values, timeout_ms),
	  .role = OPTION_IDENTITY,
	  .min = 10,
	  .allows_never = true,
	  .default_text = "60s" },
	{ .name = "expiry",
	  .type = OPTION_DURATION,
	  OPTION_FIELD(values, expiry_ms),
	  .role = OPTION_MANNER,
	  .min = 1 },
	{ .name = "limit",
	  .type = OPTION_SIZE,
	  OPTION_FIELD(values, limit_bytes),
	  .role = OPTION_MANNER,
	  .min = 65536,
	  .max = INT64_C(1) << 40,
	  .secret = true,
	  .default_text = "1MiB" },
	{ .name = "headers",
	  .type = OPTION_STRINGS,
	  OPTION_FIELD(values, headers),
	  .role = OPTION_IDENTITY,
	  .check = check_header,
	  .is_manner = is_credential },
	{ .name = "colour",
	  .type = OPTION_WORD,
	  OPTION_FIELD(values, colour),
	  .role = OPTION_MANNER,
	  .words = colours,
	  .default_text = "green" },
	{ .name = NULL },
};
static const struct option_table table = OPTION_TABLE(rows, values);

/* ---- texts and numbers ---- */

static void expect_number(enum option_type type, const char *text, int64_t number)
{
	const struct option_spec spec = { .type = type, .min = INT64_MIN };
	struct err err = ERR_INIT;
	int64_t got = 77;

	ok(option_parse_number(&spec, text, &got, &err) == 0 && got == number, "%s", text);
}

static void expect_refused(enum option_type type, const char *const *texts, const char *what)
{
	const struct option_spec spec = { .type = type, .min = INT64_MIN };
	struct err err = ERR_INIT;
	int64_t got = 77;

	for (; *texts; texts++)
		ok(option_parse_number(&spec, *texts, &got, &err) < 0 && got == 77 &&
			   err.kind == ERR_CONFIG,
		   "\"%s\" is not %s", *texts, what);
}
#define EXPECT_REFUSED(type, what, ...) \
	expect_refused(type, (const char *const[]){ __VA_ARGS__, NULL }, what)

static void test_parse(void)
{
	expect_number(OPTION_BOOL, "yes", true);
	expect_number(OPTION_BOOL, "Off", false);
	EXPECT_REFUSED(OPTION_BOOL, "a bool", "1", "", "tru");

	expect_number(OPTION_NUMBER, "0", 0);
	expect_number(OPTION_NUMBER, "4294967295", UINT32_MAX);
	EXPECT_REFUSED(OPTION_NUMBER, "a number", "", "-", "+1", "1 ", " 1", "0x10", "1.5", "--1",
		       "12k", "4294967296", "9223372036854775808");

	expect_number(OPTION_DURATION, "250ms", 250);
	expect_number(OPTION_DURATION, "30s", 30000);
	expect_number(OPTION_DURATION, "5m", 300000);
	expect_number(OPTION_DURATION, "12h", 43200000);
	expect_number(OPTION_DURATION, "7d", 604800000);
	expect_number(OPTION_DURATION, "0s", 0);
	expect_number(OPTION_DURATION, "3650d", OPTION_DURATION_MAX_MS);
	EXPECT_REFUSED(OPTION_DURATION, "a duration", "", "5", "s", "5 m", "5min", "-5s", "1.5h",
		       "3651d", "99999999999999999999d", "18446744073709551615ms", "never", "5S");

	expect_number(OPTION_SIZE, "4096", 4096);
	expect_number(OPTION_SIZE, "64KiB", 65536);
	expect_number(OPTION_SIZE, "2TiB", INT64_C(2) << 40);
	EXPECT_REFUSED(OPTION_SIZE, "a size", "", "1K", "1kb", "1MB", "1 GiB", "-1", "99999999TiB");

	expect_number(OPTION_MODE, "0444", 0444);
	EXPECT_REFUSED(OPTION_MODE, "a mode", "", "44", "0644", "888", "000444");
	expect_number(OPTION_USER, "12", 12);
	expect_number(OPTION_USER, "root", 0);
	EXPECT_REFUSED(OPTION_USER, "a user", "", "-1", "4294967295", "no-such-user-here");
	EXPECT_REFUSED(OPTION_GROUP, "a group", "no-such-group-here");
}

static void expect_message(const char *name, const char *text, const char *message)
{
	struct options *options = options_make(&table);
	struct err err = ERR_INIT;

	ok(options_set(options, name, text, &err) < 0, "%s = %s is refused", name, text);
	is_str(err.msg, message, "the message is as expected");
	options_free(options);
}

static void test_messages(void)
{
	expect_message("redirects", "51", "redirects: 51 is not between 0 and 50");
	expect_message("redirects", "x", "redirects: \"x\" is not a whole number");
	expect_message("timeout", "9ms", "timeout: 9ms is less than 10ms");
	expect_message("expiry", "0s", "expiry: must be greater than 0");
	expect_message("colour", "pink", "colour: \"pink\" is none of red, green, blue");
	expect_message("headers", "x", "headers: no colon");
	expect_message("limit", "hunter2", "limit: the value is not valid");
	expect_message("urll", "x", "unknown option \"urll\"");
}

/* ---- values ---- */

static void test_values(void)
{
	struct options *options = options_make(&table);
	const struct values *values = options->values;
	struct err err = ERR_INIT;

	ok(!values->url && !values->headers && values->verify && values->redirects == 10 &&
		   values->timeout_ms == 60000 && values->limit_bytes == 1 << 20 &&
		   values->colour == GREEN,
	   "defaults");
	ok(options_set(options, "url", "http://a", &err) == 0, "an option can be set");
	ok(options_set(options, "url", "http://b", &err) == 0, "an option can be set again");
	is_str(values->url, "http://b", "the last value counts");
	ok(options_set(options, "verify", "no", &err) == 0 && !values->verify, "a bool is stored");
	ok(options_set(options, "timeout", "never", &err) == 0 && values->timeout_ms == -1,
	   "never");
	ok(options_set(options, "colour", "blue", &err) == 0 && values->colour == BLUE,
	   "a word is stored");
	for (int i = 0; i < 3; i++)
		options_set(options, "headers", i == 1 ? "b: 2" : "a: 1", &err);
	ok(strcmp(values->headers[1], "b: 2") == 0 && !values->headers[3],
	   "a list keeps its order");
	ok(values->headers[0] == values->headers[2], "equal strings are stored once");
	options_free(options);
}

/* The row as it is shown after it was set. */
static void expect_shown(const char *name, const char *text, const char *expected)
{
	const struct option_spec *spec = option_find(&table, name);
	struct options *options = options_make(&table);
	_cleanup_free_ char *shown = NULL;
	struct err err = ERR_INIT;
	size_t len = 0;
	FILE *out = open_memstream(&shown, &len);

	if (!out || (text && options_set(options, name, text, &err) < 0))
		abort();
	if (option_is_set(spec, options->values))
		option_show(spec, options->values, out);
	fclose(out);
	is_str(shown, expected, "%s is shown as expected", name);
	options_free(options);
}

static void test_show(void)
{
	expect_shown("url", NULL, "");
	expect_shown("url", "a\"\n$", "\"a\\\"\\n\\$\"");
	expect_shown("password", "hunter2", "\"***\"");
	expect_shown("limit", "128KiB", "\"***\"");
	expect_shown("timeout", "90s", "90s");
	expect_shown("timeout", "120s", "2m");
	expect_shown("timeout", "never", "never");
	expect_shown("expiry", NULL, "");
	expect_shown("headers", "a: 1", "{ \"a: 1\" }");
	expect_shown("headers", NULL, "");
	expect_shown("colour", NULL, "green");
	expect_shown("verify", "off", "false");
}

/* ---- fingerprints ---- */

static const struct source_type type = { .name = "test", .options = &table };

/* Sets options name, text, …, NULL. */
static struct source source_with(const char *const *pairs)
{
	struct options *options = options_make(&table);
	struct source source = { .type = &type, .options = options->values };
	const void *defaults = options_defaults(&table, options->pool);
	struct digest *digest = NULL;
	struct err err = ERR_INIT;

	for (; *pairs; pairs += 2) {
		if (options_set(options, pairs[0], pairs[1], &err) < 0)
			abort();
	}
	if (digest_new(&digest, &err) < 0 ||
	    fingerprint_source(&source, defaults, digest, &err) < 0 ||
	    legacy_fingerprint(options, "test", digest, &source.legacy_fingerprint, &err) < 0)
		abort();
	digest_free(digest);
	options_free(options);
	return source;
}
#define SOURCE(...) source_with((const char *const[]){ __VA_ARGS__, NULL })

static void test_fingerprint(void)
{
	struct source plain = SOURCE("url", "a");

	is_int((int64_t)plain.fingerprint, (int64_t)UINT64_C(0xcb152d109316dd4a),
	       "the fingerprint is the same in every version");
	ok(plain.fingerprint != SOURCE("url", "b").fingerprint, "an identity option counts");
	ok(plain.fingerprint == SOURCE("url", "a", "timeout", "1m").fingerprint,
	   "a default that is spelled differently does not count");
	ok(SOURCE("url", "a", "timeout", "120s").fingerprint ==
		   SOURCE("timeout", "2m", "url", "a").fingerprint,
	   "spelling and order do not count");
	ok(plain.fingerprint == SOURCE("url", "a", "password", "x", "colour", "red").fingerprint,
	   "manner does not count");
	ok(plain.fingerprint != SOURCE("url", "a", "headers", "a: 1").fingerprint,
	   "a header counts");
	ok(plain.fingerprint == SOURCE("url", "a", "headers", "Token: 1").fingerprint,
	   "a header that only authenticates does not count");
	ok(SOURCE("headers", "a:b", "headers", "c:").fingerprint !=
		   SOURCE("headers", "a:", "headers", "b:c:").fingerprint,
	   "elements do not run together");
	struct source strict = SOURCE("url", "a", "verify", "no");
	ok(strict.fingerprint == plain.fingerprint &&
		   strict.refusal_fingerprint != plain.refusal_fingerprint,
	   "an option that judges bodies counts only for refusals");
	ok(plain.refusal_fingerprint == SOURCE("url", "a", "colour", "red").refusal_fingerprint,
	   "manner does not count for refusals");
}

static void test_legacy_fingerprint(void)
{
	struct source plain = SOURCE("url", "a", "verify", "no");

	/* Computed by version 0.1. */
	is_int((int64_t)plain.legacy_fingerprint, (int64_t)UINT64_C(0x4f9ff668fdd46cfe),
	       "the fingerprint is that of version 0.1");
	ok(plain.legacy_fingerprint ==
		   SOURCE("verify", "no", "url", "a", "password", "x").legacy_fingerprint,
	   "order and secrets do not count");
	ok(plain.legacy_fingerprint != SOURCE("url", "a", "verify", "false").legacy_fingerprint,
	   "spelling counts");
}

/* ---- tables ---- */

static void test_sizes(void)
{
	static const size_t sizes[] = {
		[OPTION_STRING] = sizeof(char *), [OPTION_STRINGS] = sizeof(char **),
		[OPTION_BOOL] = sizeof(bool),	  [OPTION_NUMBER] = sizeof(uint32_t),
		[OPTION_WORD] = sizeof(uint32_t), [OPTION_DURATION] = sizeof(int64_t),
		[OPTION_SIZE] = sizeof(uint64_t), [OPTION_MODE] = sizeof(uint32_t),
		[OPTION_USER] = sizeof(uint32_t), [OPTION_GROUP] = sizeof(uint32_t),
	};

	for (const struct option_spec *spec = rows; spec->name; spec++)
		ok(spec->size == sizes[spec->type], "the size of %s is right", spec->name);
}

int main(void)
{
	test_parse();
	test_messages();
	test_values();
	test_show();
	test_fingerprint();
	test_legacy_fingerprint();
	test_sizes();
	return tap_done();
}
