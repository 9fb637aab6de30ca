#include "fetchers/http/freshness.h"

#include <string.h>
#include <strings.h>

#include "http/http_field.h"

/* ---- Cache-Control ---- */

static bool is_directive(const char *name, size_t len, const char *expected)
{
	return strlen(expected) == len && strncasecmp(name, expected, len) == 0;
}

/* One directive: name or name=value, where the value may be quoted. */
static void add_directive(struct cache_control *control, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;

	/* no-cache with a value only concerns the header fields that it names. */
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
	int64_t seconds = http_delta_seconds(value, value_len);
	if (seconds >= 0 && (control->max_age_s < 0 || seconds < control->max_age_s))
		control->max_age_s = seconds;
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

/* Zero if it is missing or malformed. */
static int64_t age_ms(const char *age)
{
	if (!age)
		return 0;
	int64_t seconds = http_delta_seconds(age, strlen(age));
	return seconds > 0 ? seconds * 1000 : 0;
}

/* Expires minus Date. Servers write "0" and "-1" for "already expired". */
static int64_t lifetime_by_expires(const struct freshness_fields *fields, int64_t now_ms)
{
	int64_t date_ms = http_date_ms(fields->date);
	int64_t expires_ms = http_date_ms(fields->expires);

	if (!fields->expires)
		return HTTP_TIME_UNKNOWN;
	if (strcmp(fields->expires, "0") == 0 || strcmp(fields->expires, "-1") == 0)
		return 0;
	if (expires_ms < 0)
		return HTTP_TIME_UNKNOWN;
	if (date_ms < 0)
		date_ms = now_ms;
	return expires_ms > date_ms ? expires_ms - date_ms : 0;
}

int64_t freshness_ms(const struct cache_control *control, const struct freshness_fields *fields,
		     int64_t now_ms, int64_t min_ms)
{
	int64_t fresh_ms;

	if (control->must_ask)
		return min_ms;
	if (control->max_age_s >= 0)
		fresh_ms = control->max_age_s * 1000;
	else
		fresh_ms = lifetime_by_expires(fields, now_ms);
	if (fresh_ms < 0)
		return HTTP_TIME_UNKNOWN;
	fresh_ms -= age_ms(fields->age);
	return fresh_ms > min_ms ? fresh_ms : min_ms;
}
