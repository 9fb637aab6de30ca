/* The small modules of src/base: err, clock, hex, json_depth, digest, cancel. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>

#include "base/budget.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/json_depth.h"
#include "base/utf8.h"
#include "base/util.h"
#include "tap.h"

static void test_err(void)
{
	struct err err = ERR_INIT;

	is_int(err_set(&err, ERR_DENIED, "GET %s: %d", "http://a\nb", 403), -1,
	       "err_set returns -1");
	is_str(err.msg, "GET http://a?b: 403", "control characters are replaced");
	err_prefix(&err, "term \"%s\"", "x");
	is_str(err.msg, "term \"x\": GET http://a?b: 403", "a prefix is added");
	is_str(err_kind_name(err.kind), "denied", "the kind stays and has a name");
	errno = ENOSPC;
	err_errno(&err, "write %s", "f");
	is_str(err.msg, "write f: No space left on device", "the text of errno is added");
	char longer[2 * ERR_MSG_SIZE];
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&err, ERR_BUSY, "sch\xc3\xb6n \xff \xc2\x9b \xe2\x80\xae \xc3");
	is_str(err.msg, "sch\xc3\xb6n ? ?? ??? ?",
	       "UTF-8 stays; other bytes, C1 controls and changes of direction do not");
	err_set(&err, ERR_BUSY, "%s", longer);
	err_prefix(&err, "p");
	is_int(strlen(err.msg), ERR_MSG_SIZE - 1, "a long message is cut off");
}

static void test_clock(void)
{
	char text[CLOCK_RFC3339_SIZE];
	char human[CLOCK_HUMAN_SIZE];

	is_str(clock_rfc3339(0, text), "1970-01-01T00:00:00.000Z", "the epoch is shown");
	is_str(clock_rfc3339(1369353600250, text), "2013-05-24T00:00:00.250Z",
	       "milliseconds are shown");
	is_str(clock_rfc3339(-1, text), "1969-12-31T23:59:59.999Z",
	       "a time before the epoch is shown");
	is_str(clock_human(250, human), "250ms", "a duration below a second is shown");
	is_str(clock_human(4250, human), "4.2s", "seconds are shown");
	is_str(clock_human(750000, human), "12m30s", "minutes are shown");
	is_str(clock_human(90061000, human), "1d1h", "days are shown");
	ok(clock_boot_ms() <= clock_boot_ms(), "the monotonic clock does not go back");
}

static void test_hex(void)
{
	char text[16];

	for (int c = 0; c < 256; c++) {
		const char *at = c ? strchr("0123456789abcdef", tolower(c)) : NULL;
		if (hex_digit((char)c) != (at ? (int)(at - "0123456789abcdef") : -1))
			ok(false, "hex_digit of byte %d", c);
	}
	ok(hex_encode("\x00\x7f\xff", 3, text) == text + 6, "hex_encode returns the end");
	is_str(text, "007fff", "each byte has two lower-case digits");
	ok(percent_encode(0xaf, text) == text + 3, "percent_encode returns the end");
	ok(memcmp(text, "%AF", 3) == 0, "upper-case digits follow a percent sign");
}

static void test_percent_decode(void)
{
	const struct {
		const char *text, *decoded;
	} rows[] = {
		{ "", "" },	      { "a+b", "a+b" },
		{ "%41%62c", "Abc" }, { "%c3%BC", "\xc3\xbc" },
		{ "%2541", "%41" },   { "%", NULL },
		{ "a%4", NULL },      { "%4g", NULL },
		{ "%g4", NULL },      { "%00", NULL },
		{ "a%%41", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[16];
		snprintf(text, sizeof(text), "%s", rows[i].text);
		bool valid = percent_decode(text);
		ok(valid == (rows[i].decoded != NULL), "\"%s\" is %s", rows[i].text,
		   rows[i].decoded ? "valid" : "refused");
		if (valid && rows[i].decoded)
			is_str(text, rows[i].decoded, "decoded \"%s\"", rows[i].text);
	}
}

static void test_digest(void)
{
	struct err err = ERR_INIT;
	uint8_t whole[DIGEST_SIZE], parts[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];
	struct digest *digest = NULL;

	ok(digest_of("abc", 3, whole, &err) == 0, "digest_of");
	is_str(digest_hex(whole, hex),
	       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	       "the digest of abc is right");
	ok(digest_new(&digest, &err) == 0, "digest_new");
	digest_update(digest, "xyz", 3, &err);
	digest_reset(digest, &err);
	digest_update(digest, "a", 1, &err);
	digest_update(digest, "bc", 2, &err);
	digest_final(digest, parts, &err);
	ok(memcmp(whole, parts, DIGEST_SIZE) == 0, "pieces after a reset give the same digest");
	digest_free(digest);
	digest_free(NULL);
}

static void test_cancel(void)
{
	struct err err = ERR_INIT;
	struct cancel cancel;

	ok(cancel_init(&cancel, &err) == 0, "cancel_init");
	struct pollfd pfd = { .fd = cancel.fd, .events = POLLIN };
	is_int(poll(&pfd, 1, 0), 0, "the descriptor is not readable at first");
	ok(!cancel_requested(&cancel), "cancellation is not requested at first");
	cancel_request(&cancel);
	cancel_request(&cancel);
	is_int(poll(&pfd, 1, 0), 1, "the descriptor is readable after a request");
	ok(cancel_requested(&cancel), "cancellation is requested");
	cancel_release(&cancel);
}

/* What a terminal might obey or hide, and what not. */
static void test_utf8(void)
{
	static const struct {
		const char *text, *printable;
	} rows[] = {
		{ "plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80",
		  "plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "a\x1b[31m\n\x7f", "a?[31m??" },
		{ "C1: \xc2\x9b"
		  "31m",
		  "C1: ??31m" },
		{ "bidi: \xe2\x80\xae \xe2\x81\xa6 \xd8\x9c", "bidi: ??? ??? ??" },
		{ "not UTF-8: \x9b \xff \xe2\x82", "not UTF-8: ? ? ??" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[64];

		snprintf(text, sizeof(text), "%s", rows[i].text);
		utf8_make_printable(text);
		is_str(text, rows[i].printable, "what is printed instead, row %zu", i);
	}
}

static void test_budget(void)
{
	struct budget *budget = NULL;
	struct err err = ERR_INIT;

	ok(budget_new(&budget, 250, 100, &err) == 0, "budget_new");
	ok(budget_take(budget, 1, 60) && budget_take(budget, 1, 40), "a user has a share");
	ok(!budget_take(budget, 1, 1), "but no more");
	ok(budget_take(budget, 2, 100), "another user has one of its own");
	ok(!budget_take(budget, 3, 51) && budget_take(budget, 3, 50), "the total is limited");
	budget_give(budget, 1, 100);
	ok(budget_take(budget, 3, 50), "what is given back can be taken by others");
	ok(!budget_take(budget, 4, UINT64_MAX), "nothing overflows");
	budget_free(budget);
	budget_free(NULL);
}

static void test_json_depth(void)
{
	static const struct {
		const char *text;
		unsigned depth;
	} cases[] = {
		{ "", 0 },
		{ "1", 0 },
		{ "[]", 1 },
		{ "[[],[],{}]", 2 },
		{ "{\"a\":{\"b\":[1]}}", 3 },
		{ "[\"[[[\"]", 1 },
		{ "[\"\\\"[[[\"]", 1 },
		{ "[\"\\\\\",[[]]]", 3 },
		{ "]]][", 1 },
		{ "[\"[[", 1 },
		{ "[\"\\", 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].text);
		ok(!json_is_deeper(cases[i].text, len, cases[i].depth) &&
			   (!cases[i].depth ||
			    json_is_deeper(cases[i].text, len, cases[i].depth - 1)),
		   "the depth of %s is %u", cases[i].text, cases[i].depth);
	}
}

int main(void)
{
	test_err();
	test_clock();
	test_hex();
	test_percent_decode();
	test_digest();
	test_cancel();
	test_json_depth();
	test_budget();
	test_utf8();
	return tap_done();
}
