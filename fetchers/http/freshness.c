#include "fetchers/http/freshness.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"

/* ---- Cache-Control ---- */

static bool is_directive(const char *name, size_t len, const char *expected)
{
	return strlen(expected) == len && strncasecmp(name, expected, len) == 0;
}

/* RFC 9111, 4.2.1: a malformed value is stale. */
static void add_max_age(struct freshness *freshness, const char *value, size_t len)
{
	if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
		value++;
		len -= 2;
	}
	int64_t seconds = http_delta_seconds(value, len);
	if (seconds < 0)
		seconds = 0;
	if (freshness->max_age_s < 0 || seconds < freshness->max_age_s)
		freshness->max_age_s = seconds;
}

/* One directive: name or name=value. */
static void add_directive(struct freshness *freshness, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;

	if (is_directive(text, name_len, "max-age"))
		add_max_age(freshness, text + name_len + !!equals, len - name_len - !!equals);
	/* no-cache with a value only concerns the header fields that it names. */
	else if (!equals && (is_directive(text, name_len, "no-cache") ||
			     is_directive(text, name_len, "no-store")))
		freshness->must_ask = true;
}

/* Counts the characters up to the next comma outside quotes. */
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

/* Adds the directives of one line. */
static void add_cache_control(struct freshness *freshness, const char *line)
{
	for (;;) {
		line += strspn(line, " \t,");
		if (!*line)
			return;
		size_t len = directive_len(line), used = len;
		while (used && strchr(" \t", line[used - 1]))
			used--;
		add_directive(freshness, line, used);
		line += len;
	}
}

/* ---- the stored fields ---- */

static void update_cache_control(struct freshness *freshness, freshness_header *header,
				 const void *arg)
{
	const char *line = header(arg, "Cache-Control", 0);

	if (!line)
		return;
	freshness->max_age_s = HTTP_TIME_UNKNOWN;
	freshness->must_ask = false;
	for (size_t i = 0; (line = header(arg, "Cache-Control", i)); i++)
		add_cache_control(freshness, line);
}

/* RFC 9111, 5.3: what is not a date is the past. */
static void update_expires(struct freshness *freshness, freshness_header *header, const void *arg)
{
	const char *line = header(arg, "Expires", 0);

	if (!line)
		return;
	freshness->expires_ms = header(arg, "Expires", 1) ? 0 : http_date_exact_ms(line);
	if (freshness->expires_ms < 0)
		freshness->expires_ms = 0;
}

static bool has_asterisk(const char *line)
{
	for (;;) {
		line += strspn(line, " \t,");
		if (!*line)
			return false;
		if (line[0] == '*' && (!line[1] || strchr(" \t,", line[1])))
			return true;
		line += strcspn(line, ",");
	}
}

static void update_vary(struct freshness *freshness, freshness_header *header, const void *arg)
{
	const char *line = header(arg, "Vary", 0);

	if (!line)
		return;
	freshness->varies = false;
	for (size_t i = 0; (line = header(arg, "Vary", i)); i++)
		freshness->varies |= has_asterisk(line);
}

void freshness_update(struct freshness *freshness, freshness_header *header, const void *arg)
{
	update_cache_control(freshness, header, arg);
	update_expires(freshness, header, arg);
	update_vary(freshness, header, arg);
}

/* ---- freshness ---- */

/* The first value of Age; 0 if it is missing or malformed (RFC 9111, 5.1). */
static int64_t age_of(const char *age)
{
	if (!age)
		return 0;
	age += strspn(age, " \t");
	int64_t seconds = http_delta_seconds(age, strcspn(age, " \t,"));
	return seconds > 0 ? seconds * MS_PER_S : 0;
}

static int64_t max_ms(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

int64_t freshness_ms(const struct freshness *freshness, freshness_header *header, const void *arg,
		     int64_t asked_ms, int64_t now_ms)
{
	int64_t date_ms = http_date_ms(header(arg, "Date", 0));
	int64_t lifetime_ms;

	if (freshness->must_ask || freshness->varies)
		return 0;
	if (date_ms < 0)
		date_ms = now_ms;
	if (freshness->max_age_s >= 0)
		lifetime_ms = freshness->max_age_s * MS_PER_S;
	else if (freshness->expires_ms >= 0)
		lifetime_ms = freshness->expires_ms - date_ms;
	else
		return HTTP_TIME_UNKNOWN;
	/* RFC 9111, 4.2.3: the larger of the apparent age and the corrected Age. */
	int64_t corrected_ms = age_of(header(arg, "Age", 0)) + max_ms(0, now_ms - asked_ms);
	return max_ms(0, lifetime_ms - max_ms(corrected_ms, now_ms - date_ms));
}
