/*
 * http_version: the version token of an HTTP response: its ETag exactly as sent, else its
 * Last-Modified exactly as sent. The form of a token shows which of the two it is.
 */
#ifndef FETCHERS_SHARED_HTTP_VERSION_H
#define FETCHERS_SHARED_HTTP_VERSION_H

#include <stdbool.h>

#include "http/http.h"

struct fetched;
struct version;

/* "" if the response has neither. Lives as long as the response. */
const char *http_version_token(const struct http_response *response);

/* Sets token, content type and last_modified of ret. confirmed: the version whose token a 304
 * confirms, whatever it contains itself; NULL: the response is not a 304. */
void http_version_describe(const struct http_response *response, const struct version *confirmed,
			   struct fetched *ret);

/* Whether a 304 is about the known version: false if its ETag is that of another one (RFC 9111,
 * 4.3.4). */
bool http_version_is_confirmed(const struct http_response *response, const char *known);

bool http_version_is_date(const char *token);

/* Whether the token of this response is a date that the next version may have too (RFC 9110,
 * 8.8.2.2). */
bool http_version_is_unproven(const struct http_response *response, const char *token);

#endif
