#include "fetchers/http/http_cache.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* RFC 9111, 1.2.2: larger delta-seconds mean this. */
#define DELTA_SECONDS_MAX INT64_C(2147483648)

/* ---- numbers and dates ---- */

/* Digits only, len of them, at least one. */
static int64_t delta_seconds(const char *text, size_t len)
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

static int month_of(const char *name)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (int i = 0; i < 12; i++) {
		if (strncasecmp(name, names + 3 * i, 3) == 0)
			return i;
	}
	return -1;
}

static bool is_plausible(const struct tm *tm)
{
	return tm->tm_mon >= 0 && tm->tm_mday >= 1 && tm->tm_mday <= 31 && tm->tm_hour >= 0 &&
	       tm->tm_hour <= 23 && tm->tm_min >= 0 && tm->tm_min <= 59 && tm->tm_sec >= 0 &&
	       tm->tm_sec <= 60 && tm->tm_year >= 70 && tm->tm_year <= 8099;
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
		/* RFC 9110: two digits mean the past, if it is not more than 50 years ahead. */
		if (tm.tm_year < 70)
			tm.tm_year += 100;
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
	if (text[end] || (strcmp(zone, "GMT") != 0 && strcmp(zone, "UTC") != 0) ||
	    !is_plausible(&tm))
		return HTTP_TIME_UNKNOWN;
	return (int64_t)timegm(&tm) * 1000;
}

int64_t http_retry_after_ms(const char *retry_after, int64_t date_ms, int64_t now_ms)
{
	int64_t after_ms;

	if (!retry_after)
		return HTTP_TIME_UNKNOWN;
	size_t len = trimmed(&retry_after);
	int64_t seconds = delta_seconds(retry_after, len);
	if (seconds >= 0) {
		after_ms = seconds * 1000;
	} else {
		int64_t at_ms = http_date_ms(retry_after);
		if (at_ms < 0)
			return HTTP_TIME_UNKNOWN;
		after_ms = at_ms - (date_ms >= 0 ? date_ms : now_ms);
	}
	if (after_ms < 0)
		return 0;
	return after_ms < HTTP_RETRY_AFTER_MAX_MS ? after_ms : HTTP_RETRY_AFTER_MAX_MS;
}

/* ---- Cache-Control ---- */

static bool is_directive(const char *name, size_t len, const char *expected)
{
	return strlen(expected) == len && strncasecmp(name, expected, len) == 0;
}

/* One directive, name[=value]; the value may be quoted. */
static void add_directive(struct cache_control *control, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;

	/* With a value no-cache is about single header fields. */
	if (!equals) {
		if (is_directive(text, name_len, "no-cache") ||
		    is_directive(text, name_len, "no-store"))
			control->must_ask = true;
		return;
	}
	if (!is_directive(text, name_len, "max-age"))
		return;
	const char *value = equals + 1;
	size_t value_len = len - name_len - 1;
	if (value_len >= 2 && value[0] == '"' && value[value_len - 1] == '"') {
		value++;
		value_len -= 2;
	}
	int64_t seconds = delta_seconds(value, value_len);
	if (seconds >= 0 && (control->max_age_s < 0 || seconds < control->max_age_s))
		control->max_age_s = seconds;
}

/* Up to the next comma that is not in quotes. */
static size_t directive_len(const char *text)
{
	bool quoted = false;
	size_t i;

	for (i = 0; text[i] && (quoted || text[i] != ','); i++) {
		if (text[i] == '"')
			quoted = !quoted;
		else if (quoted && text[i] == '\\' && text[i + 1])
			i++;
	}
	return i;
}

void cache_control_add(struct cache_control *control, const char *line)
{
	for (;;) {
		line += strspn(line, " \t,");
		if (!*line)
			return;
		size_t len = directive_len(line), used = len;
		while (used && strchr(" \t", line[used - 1]))
			used--;
		add_directive(control, line, used);
		line += len;
	}
}

/* ---- freshness ---- */

/* Zero where it is missing or malformed. */
static int64_t age_ms(const char *age)
{
	if (!age)
		return 0;
	size_t len = trimmed(&age);
	int64_t seconds = delta_seconds(age, len);
	return seconds > 0 ? seconds * 1000 : 0;
}

/* Expires - Date; "0" and "-1" are how servers write "already". */
static int64_t lifetime_by_expires(const struct cache_times *times, int64_t now_ms)
{
	int64_t date_ms = http_date_ms(times->date);
	int64_t expires_ms = http_date_ms(times->expires);

	if (!times->expires)
		return HTTP_TIME_UNKNOWN;
	if (strcmp(times->expires, "0") == 0 || strcmp(times->expires, "-1") == 0)
		return 0;
	if (expires_ms < 0)
		return HTTP_TIME_UNKNOWN;
	if (date_ms < 0)
		date_ms = now_ms;
	return expires_ms > date_ms ? expires_ms - date_ms : 0;
}

int64_t http_fresh_for_ms(const struct cache_control *control, const struct cache_times *times,
			  int64_t now_ms, int64_t min_ms)
{
	int64_t fresh_ms;

	if (control->must_ask)
		return min_ms;
	if (control->max_age_s >= 0)
		fresh_ms = control->max_age_s * 1000;
	else
		fresh_ms = lifetime_by_expires(times, now_ms);
	if (fresh_ms < 0)
		return HTTP_TIME_UNKNOWN;
	fresh_ms -= age_ms(times->age);
	return fresh_ms > min_ms ? fresh_ms : min_ms;
}
