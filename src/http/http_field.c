#include "http/http_field.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/util.h"

/* RFC 9111, 1.2.2: what larger delta-seconds stand for. */
#define DELTA_SECONDS_MAX INT64_C(2147483648)

/* 9999-12-31T23:59:59Z */
#define LAST_DATE_MS (INT64_C(253402300799) * MS_PER_S)

/* A longer text is not a Content-Range, which has three numbers of at most 20 digits. */
#define CONTENT_RANGE_MAX 80

/* ---- dates ---- */

static int month_of(const char *name)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (int i = 0; i < 12; i++) {
		if (strncasecmp(name, names + 3 * i, 3) == 0)
			return i;
	}
	return -1;
}

static int days_of(const struct tm *tm)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year = tm->tm_year + 1900;
	bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[tm->tm_mon] + (tm->tm_mon == 1 && is_leap);
}

static bool is_plausible(const struct tm *tm)
{
	return tm->tm_mon >= 0 && tm->tm_mday >= 1 && tm->tm_mday <= days_of(tm) &&
	       tm->tm_hour >= 0 && tm->tm_hour <= 23 && tm->tm_min >= 0 && tm->tm_min <= 59 &&
	       tm->tm_sec >= 0 && tm->tm_sec <= 60 && tm->tm_year >= 1 - 1900 &&
	       tm->tm_year <= 9999 - 1900;
}

/* RFC 9110, 5.6.7: a year of two digits is at most 50 years ahead. */
static int full_year(int two_digits)
{
	time_t now_s = clock_wall_ms() / MS_PER_S;
	struct tm now;

	gmtime_r(&now_s, &now);
	int year = now.tm_year - now.tm_year % 100 + two_digits;
	if (year > now.tm_year + 50)
		year -= 100;
	else if (year <= now.tm_year - 50)
		year += 100;
	return year;
}

int64_t http_date_ms(const char *text)
{
	struct tm tm = { .tm_mday = 0 };
	char month[4] = "", zone[4] = "";
	int end = -1;

	if (!text)
		return HTTP_TIME_UNKNOWN;
	if (sscanf(text, " %*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d %3s %n", &tm.tm_mday, month,
		   &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, zone, &end) == 7 &&
	    end > 0) {
		tm.tm_year -= 1900;
	} else if (sscanf(text, " %*[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d %3s %n", &tm.tm_mday,
			  month, &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, zone,
			  &end) == 7 &&
		   end > 0) {
		tm.tm_year = full_year(tm.tm_year);
	} else if (sscanf(text, " %*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d %n", month,
			  &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &tm.tm_year,
			  &end) == 6 &&
		   end > 0) {
		tm.tm_year -= 1900;
		strcpy(zone, "GMT");
	} else {
		return HTTP_TIME_UNKNOWN;
	}
	tm.tm_mon = month_of(month);
	if (text[end] || (strcasecmp(zone, "GMT") != 0 && strcasecmp(zone, "UTC") != 0) ||
	    !is_plausible(&tm))
		return HTTP_TIME_UNKNOWN;
	/* A leap second at the end of the last year lies in the next one. */
	int64_t ms = (int64_t)timegm(&tm) * MS_PER_S;
	return ms <= LAST_DATE_MS ? ms : HTTP_TIME_UNKNOWN;
}

/* Compares what follows the day of the week. */
int64_t http_date_exact_ms(const char *text)
{
	int64_t ms = http_date_ms(text);
	time_t seconds = ms / MS_PER_S;
	char expected[3][48], day[16], hour[16];
	struct tm tm;

	if (ms < 0)
		return HTTP_TIME_UNKNOWN;
	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%d-%b", &tm);
	strftime(hour, sizeof(hour), "%H:%M:%S", &tm);
	strftime(expected[0], sizeof(expected[0]), ", %d %b %Y %H:%M:%S GMT", &tm);
	snprintf(expected[1], sizeof(expected[1]), ", %s-%02d %s GMT", day, tm.tm_year % 100, hour);
	strftime(expected[2], sizeof(expected[2]), " %b %e %H:%M:%S %Y", &tm);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		if (strcasecmp(text + strcspn(text, ", "), expected[i]) == 0)
			return ms;
	}
	return HTTP_TIME_UNKNOWN;
}

struct timespec http_date(const char *text)
{
	int64_t ms = http_date_ms(text);

	return ms == HTTP_TIME_UNKNOWN ? CLOCK_NO_TIME : clock_from_ms(ms);
}

/* ---- Retry-After ---- */

int64_t http_delta_seconds(const char *text, size_t len)
{
	int64_t seconds = 0;

	if (!len)
		return HTTP_TIME_UNKNOWN;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)text[i]))
			return HTTP_TIME_UNKNOWN;
		seconds = seconds * 10 + (text[i] - '0');
		if (seconds > DELTA_SECONDS_MAX)
			seconds = DELTA_SECONDS_MAX;
	}
	return seconds;
}

static size_t trimmed(const char **text)
{
	*text += strspn(*text, " \t");
	size_t len = strlen(*text);
	while (len && strchr(" \t", (*text)[len - 1]))
		len--;
	return len;
}

int64_t http_retry_after_ms(const char *retry_after, int64_t date_ms, int64_t now_ms)
{
	int64_t after_ms;

	if (!retry_after)
		return HTTP_TIME_UNKNOWN;
	size_t len = trimmed(&retry_after);
	int64_t seconds = http_delta_seconds(retry_after, len);
	if (seconds >= 0) {
		after_ms = seconds * 1000;
	} else {
		int64_t at_ms = http_date_ms(retry_after);
		if (at_ms == HTTP_TIME_UNKNOWN)
			return HTTP_TIME_UNKNOWN;
		after_ms = at_ms - (date_ms != HTTP_TIME_UNKNOWN ? date_ms : now_ms);
	}
	if (after_ms < 0)
		return 0;
	return after_ms < HTTP_RETRY_AFTER_MAX_MS ? after_ms : HTTP_RETRY_AFTER_MAX_MS;
}

/* ---- Content-Range ---- */

bool http_content_range_parse(const char *text, struct http_content_range *ret)
{
	static const char unit[] = "bytes ";
	uint64_t first, last, size;
	int end = -1;

	if (!text || strlen(text) > CONTENT_RANGE_MAX || strncasecmp(text, unit, strlen(unit)) != 0)
		return false;
	text += strlen(unit);
	if (!isdigit((unsigned char)*text) ||
	    sscanf(text, "%" SCNu64 "-%" SCNu64 "/%" SCNu64 "%n", &first, &last, &size, &end) !=
		    3 ||
	    text[end])
		return false;
	if (last < first || last >= size)
		return false;
	*ret = (struct http_content_range){ .first = first, .end = last + 1, .size = size };
	return true;
}
