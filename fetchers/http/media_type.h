/*
 * media_type: the option content_type: which kinds of content a source may answer with.
 *
 * A login page in front of the network, or an error page, answers 200 like the source would; what
 * it answers is of another type.
 */
#ifndef FETCHERS_HTTP_MEDIA_TYPE_H
#define FETCHERS_HTTP_MEDIA_TYPE_H

#include "base/err.h"

/* Is each of the list (NULL-terminated, may be empty) "type/subtype" or "type" followed by "/" and
 * an asterisk? ERR_CONFIG. */
int media_type_check(const char *const *wanted, struct err *err);

/* Is what was answered (a Content-Type; empty: none) of one of the types? An empty list takes
 * everything. Case and parameters do not count. ERR_BAD_DATA; shown is the source for people. */
int media_type_take(const char *const *wanted, const char *answered, const char *shown,
		    struct err *err);

#endif
