/* freshness, http_notes: for how long a response is fresh, and what a 304 changes about that. */
#include "fetchers/http/freshness.h"

#include <string.h>
#include <strings.h>

#include "fetchers/http/http_notes.h"

#include "tap.h"

#define UNKNOWN HTTP_TIME_UNKNOWN
#define S	INT64_C(1000)
#define H	(3600 * S)

/* The response arrives at this time: Sun, 06 Nov 1994 08:49:37 GMT. */
#define NOW_MS INT64_C(784111777000)
#define NOW    "Sun, 06 Nov 1994 08:49:37 GMT"
#define LATER  "Sun, 06 Nov 1994 08:50:37 GMT" /* a minute later */

/* freshness_header: finds it in lines of "Name: value". */
static const char *header(const void *arg, const char *name, size_t index)
{
	static char value[256];
	size_t len = strlen(name);

	for (const char *line = arg; line && *line; line += strcspn(line, "\n")) {
		line += *line == '\n';
		if (strncasecmp(line, name, len) == 0 && line[len] == ':' && index-- == 0) {
			line += len + 1;
			line += strspn(line, " ");
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(line, "\n"), line);
			return value;
		}
	}
	return NULL;
}

/* On one line, for the name of a test. */
static const char *flat(const char *headers, char ret[256])
{
	snprintf(ret, 256, "%s", headers);
	for (char *c = ret; (c = strchr(c, '\n')); c++)
		*c = ';';
	return ret;
}

struct answer {
	const char *headers;
	int64_t ms; /* for how long it is fresh */
};

/* Of one response that was asked for in the same millisecond. */
static const struct answer answers[] = {
	/* Cache-Control (RFC 9111, 5.2.2): max-age counts, in any case, quoted, among others. */
	{ "Cache-Control: max-age=60", 60 * S },
	{ "Cache-Control: public, max-age=60", 60 * S },
	{ "Cache-Control: MAX-AGE=60", 60 * S },
	{ "Cache-Control: max-age=\"60\"", 60 * S },
	{ "Cache-Control: max-age=60 , public", 60 * S },
	{ "Cache-Control: ,, max-age=60,,", 60 * S },
	{ "Cache-Control: public\ncache-control: max-age=60", 60 * S },
	{ "Cache-Control: max-age=99999999999999999999", 2147483648 * S },
	{ "Cache-Control: max-age=0", 0 },
	{ "Cache-Control: no-cache=\"set-cookie, x\", max-age=60", 60 * S },
	{ "Cache-Control: x=\"max-age=1, no-cache\", max-age=60", 60 * S },
	{ "Cache-Control: x=\"\\\", no-cache\", max-age=60", 60 * S },
	/* A private cache ignores s-maxage. */
	{ "Cache-Control: max-age=60, s-maxage=600", 60 * S },
	{ "Cache-Control: s-maxage=600", UNKNOWN },
	/* The smaller of two. */
	{ "Cache-Control: max-age=60, max-age=90", 60 * S },
	{ "Cache-Control: max-age=90, max-age=60", 60 * S },
	/* Always asked. */
	{ "Cache-Control: no-cache", 0 },
	{ "Cache-Control: no-cache\nExpires: " LATER, 0 },
	{ "Cache-Control: no-store, max-age=600", 0 },
	/* 4.2.1: what is malformed is stale, and does not give way to Expires. */
	{ "Cache-Control: max-age=-3600", 0 },
	{ "Cache-Control: max-age=abc", 0 },
	{ "Cache-Control: max-age=1.5", 0 },
	{ "Cache-Control: max-age=", 0 },
	{ "Cache-Control: max-age", 0 },
	{ "Cache-Control: max-age=\"", 0 },
	{ "Cache-Control: max-age=x\nExpires: " LATER, 0 },
	{ "Cache-Control: max-age=60, max-age=x", 0 },
	/* No such directive. */
	{ "Cache-Control: x=\"never closed, max-age=60", UNKNOWN },
	{ "Cache-Control: xmax-age=60", UNKNOWN },
	{ "Cache-Control: ", UNKNOWN },
	{ "", UNKNOWN },

	/* Expires minus Date, or minus now (5.3). */
	{ "Date: " NOW "\nExpires: " LATER, 60 * S },
	{ "Expires: " LATER, 60 * S },
	{ "Date: yesterday\nExpires: " LATER, 60 * S },
	{ "Expires: Sunday, 06-Nov-94 08:50:37 GMT", 60 * S },
	{ "Expires: Sun Nov  6 08:50:37 1994", 60 * S },
	{ "Expires: sun, 06 nov 1994 08:50:37 gmt", 60 * S },
	{ "Date: " LATER "\nExpires: " NOW, 0 },
	{ "Cache-Control: max-age=100\nDate: " NOW "\nExpires: " LATER, 100 * S },
	{ "Cache-Control: public\nExpires: " LATER, 60 * S },
	/* What is not one valid date is the past. */
	{ "Expires: 0", 0 },
	{ "Expires: -1", 0 },
	{ "Expires: tomorrow", 0 },
	{ "Expires: ", 0 },
	{ "Expires: Sun, 06 Nov 1994 08:50:37 UTC", 0 },
	{ "Expires: Sun, 06 Nov 1994 08:50:37", 0 },
	{ "Expires: Sun, 06 Nov 1994  08:50:37 GMT", 0 },
	{ "Expires: Sun, 6 Nov 1994 08:50:37 GMT", 0 },
	{ "Expires: Sun, 06 Nov 1994 8:50:37 GMT", 0 },
	{ "Expires: Sun, 31 Feb 1999 08:50:37 GMT", 0 },
	{ "Expires: Mon, 29 Feb 1999 08:50:37 GMT", 0 },
	{ "Expires: Sun, 06-Nov-1994 08:50:37 GMT", 0 },
	{ "Expires: Sun, 06 Nov 1994 08:50:37 GMT, Sun, 06 Nov 1994 08:50:37 GMT", 0 },
	{ "Expires: " LATER "\nExpires: " LATER, 0 },

	/* Age (5.1): the first value, if it is a number. */
	{ "Cache-Control: max-age=100\nAge: 40", 60 * S },
	{ "Cache-Control: max-age=100\nAge: 40, 0", 60 * S },
	{ "Cache-Control: max-age=100\nAge: 40\nAge: 0", 60 * S },
	{ "Cache-Control: max-age=100\nAge: 0, 40", 100 * S },
	{ "Cache-Control: max-age=100\nAge: 1000", 0 },
	{ "Cache-Control: max-age=3600\nAge: 7200, 0", 0 },
	{ "Cache-Control: max-age=100\nAge: 99999999999999999999999", 0 },
	{ "Cache-Control: max-age=100\nAge: x", 100 * S },
	{ "Cache-Control: max-age=100\nAge: -40", 100 * S },
	{ "Cache-Control: max-age=100\nAge: 40.5", 100 * S },
	{ "Date: " NOW "\nExpires: " LATER "\nAge: 20", 40 * S },

	/* Apparent age (4.2.3): a Date in the past counts as much as an Age. */
	{ "Cache-Control: max-age=3600\nDate: Sun, 06 Nov 1994 06:49:37 GMT", 0 },
	{ "Cache-Control: max-age=3600\nDate: Sun, 06 Nov 1994 08:19:37 GMT", H / 2 },
	{ "Cache-Control: max-age=3600\nDate: Sun, 06 Nov 1994 08:19:37 GMT\nAge: 60", H / 2 },
	{ "Cache-Control: max-age=3600\nDate: Sun, 06 Nov 1994 08:19:37 GMT\nAge: 2700", H / 4 },
	{ "Cache-Control: max-age=3600\nDate: Sun, 06 Nov 1994 10:49:37 GMT", H },

	/* Vary: * never matches (4.1). */
	{ "Cache-Control: max-age=60\nVary: *", 0 },
	{ "Cache-Control: max-age=60\nVary: Accept, *", 0 },
	{ "Cache-Control: max-age=60\nVary: Accept\nVary: *", 0 },
	{ "Expires: " LATER "\nVary: *", 0 },
	{ "Cache-Control: max-age=60\nVary: Accept-Encoding", 60 * S },
	{ "Cache-Control: max-age=60\nVary: x*", 60 * S },
};

static void test_answers(void)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		struct freshness freshness = FRESHNESS_INIT;
		const struct answer *row = &answers[i];
		char name[256];

		freshness_update(&freshness, header, row->headers);
		is_int(freshness_ms(&freshness, header, row->headers, NOW_MS, NOW_MS), row->ms,
		       "%s", flat(row->headers, name));
	}
}

/* Passes the notes through the store's text, as a restart does. */
static struct http_notes stored(const struct freshness *freshness)
{
	struct http_notes notes = HTTP_NOTES_INIT, ret;
	char text[VERSION_NOTES_SIZE];

	notes.freshness = *freshness;
	http_notes_write(&notes, text);
	http_notes_read(&ret, text);
	return ret;
}

/* What a 304 carries replaces what is stored; the rest stays (RFC 9111, 3.2 and 4.3.4). */
static void test_unchanged(void)
{
	static const struct {
		const char *first, *unchanged;
		int64_t ms;
	} rows[] = {
		{ "Cache-Control: max-age=5", "", 5 * S },
		{ "Cache-Control: max-age=5", "Age: 2", 3 * S },
		{ "Cache-Control: max-age=5\nAge: 4", "", 5 * S },
		{ "Cache-Control: max-age=5", "Cache-Control: max-age=60", 60 * S },
		{ "Cache-Control: max-age=5", "Cache-Control: no-cache", 0 },
		{ "Cache-Control: max-age=5", "Cache-Control: public", UNKNOWN },
		{ "Cache-Control: no-cache", "", 0 },
		{ "Cache-Control: no-cache", "Cache-Control: max-age=60", 60 * S },
		{ "Cache-Control: max-age=x", "", 0 },
		{ "", "Cache-Control: max-age=60", 60 * S },
		{ "", "", UNKNOWN },
		{ "Expires: " LATER, "Date: " NOW, 60 * S },
		{ "Expires: " NOW, "Date: " NOW, 0 },
		{ "Expires: " NOW, "Expires: " LATER, 60 * S },
		{ "Expires: 0", "", 0 },
		{ "Cache-Control: max-age=60\nVary: *", "", 0 },
		{ "Cache-Control: max-age=60\nVary: *", "Vary: Accept", 60 * S },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct freshness freshness = FRESHNESS_INIT;
		char first[256], unchanged[256];

		freshness_update(&freshness, header, rows[i].first);
		struct http_notes notes = stored(&freshness);
		freshness_update(&notes.freshness, header, rows[i].unchanged);
		is_int(freshness_ms(&notes.freshness, header, rows[i].unchanged, NOW_MS, NOW_MS),
		       rows[i].ms, "%s, then a 304 with %s", flat(rows[i].first, first),
		       flat(rows[i].unchanged, unchanged));
	}
}

/* The time that the answer took counts (RFC 9111, 4.2.3). */
static void test_delay(void)
{
	const char *headers = "Cache-Control: max-age=100\nAge: 40";
	struct freshness freshness = FRESHNESS_INIT;

	freshness_update(&freshness, header, headers);
	is_int(freshness_ms(&freshness, header, headers, NOW_MS - 5 * S, NOW_MS), 55 * S,
	       "5 s under way");
	is_int(freshness_ms(&freshness, header, headers, NOW_MS + 5 * S, NOW_MS), 60 * S,
	       "a clock that was set back");
}

static void test_notes(void)
{
	static const char *const dates[] = {
		"",
		NOW,
		"sun, 6 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994",
		"Mon, 01 Jan 0001 00:00:00 GMT",
		"Thu, 01 Jan 1970 00:00:00 GMT",
		"Fri, 31 Dec 9999 23:59:59 GMT",
	};
	static const char *const bad[] = { "", "max_age=5", "max_age=x expires=1", "\xff\n", "7" };
	struct http_notes notes = HTTP_NOTES_INIT, read;
	char text[VERSION_NOTES_SIZE];

	http_notes_write(&notes, text);
	is_str(text, "", "nothing to note");
	notes.length = 1234;
	notes.is_unproven = true;
	strcpy(notes.last_modified, NOW);
	http_notes_write(&notes, text);
	http_notes_read(&read, text);
	ok(read.length == 1234 && read.is_unproven && strcmp(read.last_modified, NOW) == 0,
	   "all of it is read: %s", text);
	ok(strlen(text) < 32, "it is short");
	for (size_t i = 0; i < sizeof(dates) / sizeof(*dates); i++) {
		snprintf(notes.last_modified, sizeof(notes.last_modified), "%s", dates[i]);
		http_notes_write(&notes, text);
		http_notes_read(&read, text);
		is_str(read.last_modified, dates[i], "a date stays as it was sent");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		http_notes_read(&read, bad[i]);
		ok(read.length == -1 && !read.is_unproven && !*read.last_modified &&
			   read.freshness.max_age_s == UNKNOWN,
		   "no notes: the text %zu", i);
	}
}

int main(void)
{
	test_answers();
	test_unchanged();
	test_delay();
	test_notes();
	return tap_done();
}
