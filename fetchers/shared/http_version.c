#include "fetchers/shared/http_version.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "fetch/fetcher.h"
#include "http/http_field.h"

/* How much older than Date a Last-Modified must be, so that the next version has another one. */
#define PROVEN_AFTER_MS 2000

/* An empty one tells nothing. An unquoted "*" in If-None-Match would stand for every version. */
static bool is_etag(const char *etag)
{
	static const char *const useless[] = { "*", "\"\"", "W/\"\"" };

	for (size_t i = 0; i < ARRAY_SIZE(useless); i++) {
		if (etag && strcmp(etag, useless[i]) == 0)
			return false;
	}
	return version_is_usable(etag);
}

const char *http_version_token(const struct http_response *response)
{
	const char *etag = http_header(response, "ETag");
	const char *date = http_header(response, "Last-Modified");

	if (is_etag(etag))
		return etag;
	return version_is_usable(date) && http_version_is_date(date) ? date : "";
}

void http_version_describe(const struct http_response *response, const struct version *confirmed,
			   struct fetched *ret)
{
	const char *token = confirmed ? confirmed->token : http_version_token(response);
	const char *type = http_header(response, "Content-Type");

	snprintf(ret->version.token, sizeof(ret->version.token), "%s", token);
	snprintf(ret->content_type, sizeof(ret->content_type), "%s", type ? type : "");
	ret->last_modified = http_date(http_header(response, "Last-Modified"));
}

/* What identifies the version in an ETag: neither its weakness nor the suffixes that servers add to
 * it when they compress, and forget in a 304, like "…-gzip". Returns the length. */
static size_t find_core(const char **etag)
{
	static const char *const suffixes[] = { "--gzip", "-gzip", ";gzip", "-br", "-zstd" };

	*etag += strncmp(*etag, "W/", 2) == 0 ? 2 : 0;
	*etag += **etag == '"';
	size_t len = strlen(*etag);
	len -= len > 0 && (*etag)[len - 1] == '"';
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		size_t suffix = strlen(suffixes[i]);
		if (len > suffix && memcmp(*etag + len - suffix, suffixes[i], suffix) == 0)
			return len - suffix;
	}
	return len;
}

bool http_version_is_confirmed(const struct http_response *response, const char *known)
{
	const char *etag = http_header(response, "ETag");

	if (http_version_is_date(known) || !is_etag(etag))
		return true;
	size_t len = find_core(&etag), known_len = find_core(&known);
	return len == known_len && memcmp(etag, known, len) == 0;
}

bool http_version_is_date(const char *token)
{
	return http_date_ms(token) != HTTP_TIME_UNKNOWN;
}

bool http_version_is_unproven(const struct http_response *response, const char *token)
{
	int64_t date_ms = http_date_ms(http_header(response, "Date"));

	if (!http_version_is_date(token))
		return false;
	/* RFC 9110, 6.6.1: a missing Date is the time of arrival. */
	if (date_ms < 0)
		date_ms = clock_wall_ms();
	return date_ms - http_date_ms(token) < PROVEN_AFTER_MS;
}
