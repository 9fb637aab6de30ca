#include "fetchers/http/http_notes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "http/http_field.h"

/*
 * "a60 f1 l1234 t1795947213": a letter and a number for each thing that is known, because there are
 * notes of every term in memory.
 *
 *	a  max-age, in seconds          l  length, in bytes
 *	x  Expires, in milliseconds     t  Last-Modified, in seconds, if it is an IMF-fixdate
 *	f  flags                        d  Last-Modified as sent otherwise; the last one
 */
enum { FLAG_MUST_ASK = 1, FLAG_VARIES = 2, FLAG_UNPROVEN = 4 };

/* The date of RFC 9110, 5.6.7. */
static void imf_fixdate(int64_t seconds, char ret[HTTP_NOTES_DATE_SIZE])
{
	time_t time = seconds;
	struct tm tm;

	ret[0] = '\0';
	if (gmtime_r(&time, &tm))
		strftime(ret, HTTP_NOTES_DATE_SIZE, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static bool read_one(struct http_notes *notes, char letter, int64_t number)
{
	switch (letter) {
	case 'a':
		notes->freshness.max_age_s = number;
		return true;
	case 'x':
		notes->freshness.expires_ms = number;
		return true;
	case 'f':
		notes->freshness.must_ask = number & FLAG_MUST_ASK;
		notes->freshness.varies = number & FLAG_VARIES;
		notes->is_unproven = number & FLAG_UNPROVEN;
		return true;
	case 'l':
		notes->length = number;
		return true;
	case 't':
		imf_fixdate(number, notes->last_modified);
		return true;
	default:
		return false;
	}
}

static bool read_all(struct http_notes *notes, const char *text)
{
	while (*text) {
		char letter = *text++, *end;

		if (letter == 'd') {
			snprintf(notes->last_modified, sizeof(notes->last_modified), "%s", text);
			return true;
		}
		int64_t number = strtoll(text, &end, 10);
		if (end == text || !read_one(notes, letter, number))
			return false;
		text = end + (*end == ' ');
	}
	return true;
}

void http_notes_read(struct http_notes *ret, const char *text)
{
	*ret = (struct http_notes)HTTP_NOTES_INIT;
	if (!read_all(ret, text))
		*ret = (struct http_notes)HTTP_NOTES_INIT;
}

static void put(char ret[VERSION_NOTES_SIZE], char letter, int64_t number, int64_t unknown)
{
	size_t used = strlen(ret);

	if (number != unknown)
		snprintf(ret + used, VERSION_NOTES_SIZE - used, "%s%c%" PRId64, used ? " " : "",
			 letter, number);
}

static void put_date(char ret[VERSION_NOTES_SIZE], const char *date)
{
	int64_t ms = http_date_ms(date);
	char usual[HTTP_NOTES_DATE_SIZE];
	size_t used = strlen(ret);

	imf_fixdate(ms / MS_PER_S, usual);
	if (ms != HTTP_TIME_UNKNOWN && strcmp(usual, date) == 0)
		put(ret, 't', ms / MS_PER_S, HTTP_TIME_UNKNOWN);
	else if (*date)
		snprintf(ret + used, VERSION_NOTES_SIZE - used, "%sd%s", used ? " " : "", date);
}

void http_notes_write(const struct http_notes *notes, char ret[VERSION_NOTES_SIZE])
{
	const struct freshness *freshness = &notes->freshness;
	/* max-age overrides Expires, which changes with each answer. */
	int64_t expires_ms = freshness->max_age_s >= 0 ? HTTP_TIME_UNKNOWN : freshness->expires_ms;
	int64_t flags = (freshness->must_ask ? FLAG_MUST_ASK : 0) |
			(freshness->varies ? FLAG_VARIES : 0) |
			(notes->is_unproven ? FLAG_UNPROVEN : 0);

	ret[0] = '\0';
	put(ret, 'a', freshness->max_age_s, HTTP_TIME_UNKNOWN);
	put(ret, 'x', expires_ms, HTTP_TIME_UNKNOWN);
	put(ret, 'f', flags, 0);
	put(ret, 'l', notes->length, -1);
	put_date(ret, notes->last_modified);
}
