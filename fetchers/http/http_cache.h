/*
 * http_cache: what HTTP headers say about time. Pure; any text from a server will do.
 */
#ifndef FETCHERS_HTTP_HTTP_CACHE_H
#define FETCHERS_HTTP_HTTP_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_TIME_UNKNOWN (-1)

/* The longest Retry-After that is obeyed. */
#define HTTP_RETRY_AFTER_MAX_MS (INT64_C(24) * 3600 * 1000)

/* An HTTP-date in any of the three formats of RFC 9110, 5.6.7, as milliseconds of the wall clock,
 * or HTTP_TIME_UNKNOWN. NULL is unknown. */
int64_t http_date_ms(const char *text);

/* Retry-After: seconds, or a date, which is measured from the response's Date if that is known. */
int64_t http_retry_after_ms(const char *retry_after, int64_t date_ms, int64_t now_ms);

/* Cache-Control, which may come in several lines. */
struct cache_control {
	int64_t max_age_s; /* the smallest; HTTP_TIME_UNKNOWN: none, or malformed */
	bool must_ask;	   /* no-cache or no-store */
};

#define CACHE_CONTROL_INIT                      \
	{                                       \
		.max_age_s = HTTP_TIME_UNKNOWN, \
	}

/* Adds what one line says. */
void cache_control_add(struct cache_control *control, const char *line);

/* What else decides; NULL: there is no such header. */
struct cache_times {
	const char *age, *date, *expires;
};

/*
 * For how long the response is fresh by RFC 9111, 4.2 (as a private cache sees it), from now on and
 * never less than min_ms; HTTP_TIME_UNKNOWN if the headers do not say.
 */
int64_t http_fresh_for_ms(const struct cache_control *control, const struct cache_times *times,
			  int64_t now_ms, int64_t min_ms);

#endif
