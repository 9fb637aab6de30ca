/*
 * freshness: how long a response is fresh to a private cache, by its Cache-Control, Expires, Vary,
 * Age and Date (RFC 9111, 4.2). Accepts any text from a server.
 *
 * The first three are stored with the version: a 304 that does not carry one of them leaves it as
 * it was (RFC 9111, 3.2).
 */
#ifndef FETCHERS_HTTP_FRESHNESS_H
#define FETCHERS_HTTP_FRESHNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/http_field.h"

/* The header of that name at index, or NULL; names are compared without case. */
typedef const char *freshness_header(const void *arg, const char *name, size_t index);

struct freshness {
	/* Cache-Control. max_age_s is the smallest of several, 0 if it is malformed,
	 * HTTP_TIME_UNKNOWN if there is none. must_ask: no-cache or no-store. */
	int64_t max_age_s;
	bool must_ask;

	int64_t expires_ms; /* 0: not one valid date, so the past; HTTP_TIME_UNKNOWN: none */
	bool varies;	    /* Vary: * */
};

#define FRESHNESS_INIT                                                           \
	{                                                                        \
		.max_age_s = HTTP_TIME_UNKNOWN, .expires_ms = HTTP_TIME_UNKNOWN, \
	}

/* Takes over the fields that the response carries. */
void freshness_update(struct freshness *freshness, freshness_header *header, const void *arg);

/*
 * For how long from now a response is fresh whose headers have just arrived, the request for which
 * was sent at asked_ms (wall clock, as now_ms): 0 if it is stale, HTTP_TIME_UNKNOWN if no field
 * says. `freshness` is that of the response, after freshness_update().
 */
int64_t freshness_ms(const struct freshness *freshness, freshness_header *header, const void *arg,
		     int64_t asked_ms, int64_t now_ms);

#endif
