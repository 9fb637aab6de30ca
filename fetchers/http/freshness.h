/*
 * freshness: how long a response is fresh, by its Cache-Control, Age and Expires (RFC 9111). Pure;
 * accepts any text from a server.
 */
#ifndef FETCHERS_HTTP_FRESHNESS_H
#define FETCHERS_HTTP_FRESHNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "http/http_field.h"

/* Cache-Control, which may come in several lines. */
struct cache_control {
	int64_t max_age_s; /* the smallest; HTTP_TIME_UNKNOWN: none that is well-formed */
	bool must_ask;	   /* no-cache or no-store */
};

#define CACHE_CONTROL_INIT                      \
	{                                       \
		.max_age_s = HTTP_TIME_UNKNOWN, \
	}

/* Adds the directives of one line. */
void cache_control_add(struct cache_control *control, const char *line);

/* The other fields that count; NULL: not sent. */
struct freshness_fields {
	const char *age, *date, *expires;
};

/*
 * For how long from now the response is fresh to a private cache (RFC 9111, 4.2), at least min_ms;
 * HTTP_TIME_UNKNOWN if the fields do not say.
 */
int64_t freshness_ms(const struct cache_control *control, const struct freshness_fields *fields,
		     int64_t now_ms, int64_t min_ms);

#endif
