/*
 * media_type: the option content_type, the media types that a source may answer with.
 *
 * A captive portal or a misconfigured server sends its error or login page with status 200; only
 * the media type gives it away.
 */
#ifndef FETCHERS_SHARED_MEDIA_TYPE_H
#define FETCHERS_SHARED_MEDIA_TYPE_H

#include "base/err.h"

/* For the check of the option's row: "type/subtype", where the subtype may be an asterisk.
 * ERR_CONFIG. */
int media_type_check(const char *wanted, struct err *err);

/* Checks a Content-Type (empty: none was sent) against the list; NULL or an empty list accepts
 * everything. Case and parameters are ignored. ERR_BAD_DATA; the message names the source as
 * `shown`. */
int media_type_take(const char *const *wanted, const char *answered, const char *shown,
		    struct err *err);

#endif
