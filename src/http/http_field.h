/*
 * http_field: values of HTTP header fields: dates, Retry-After, Content-Range. Accepts any text
 * from a server. Pure, except that a year of two digits is read by the clock.
 */
#ifndef HTTP_HTTP_FIELD_H
#define HTTP_HTTP_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define HTTP_TIME_UNKNOWN (-1)

/* The longest Retry-After that is obeyed. */
#define HTTP_RETRY_AFTER_MAX_MS (INT64_C(24) * 3600 * 1000)

/* Parses an HTTP-date in any of the three formats of RFC 9110, 5.6.7, with some tolerance for
 * spaces, one-digit numbers and "UTC", of the years 1 to 9999. Returns milliseconds of the wall
 * clock, negative before 1970, or HTTP_TIME_UNKNOWN (which is no whole second) for any other
 * text and for NULL. */
int64_t http_date_ms(const char *text);

/* The same; CLOCK_NO_TIME: unknown. */
struct timespec http_date(const char *text);

/* Without tolerance, but for upper and lower case, and since 1970. */
int64_t http_date_exact_ms(const char *text);

/* Parses delta-seconds (RFC 9111, 1.2.2): len digits and nothing else. Values above 2^31 become
 * 2^31. Returns HTTP_TIME_UNKNOWN for any other text. */
int64_t http_delta_seconds(const char *text, size_t len);

/* Parses Retry-After: seconds, or a date, which is compared with date_ms (the Date of the same
 * response) or, if that is unknown, with now_ms. */
int64_t http_retry_after_ms(const char *retry_after, int64_t date_ms, int64_t now_ms);

struct http_content_range {
	uint64_t first, end; /* [first, end), not empty */
	uint64_t size;	     /* of the whole content; end is not larger */
};

/* Parses Content-Range: "bytes FIRST-LAST/SIZE". Returns false, and leaves *ret alone, for any
 * other text and for NULL. */
bool http_content_range_parse(const char *text, struct http_content_range *ret);

#endif
