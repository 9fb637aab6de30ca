#include "fetchers/shared/http_version.h"

#include <stdio.h>

#include "base/clock.h"
#include "fetch/fetcher.h"
#include "http/http_field.h"

/* How much older than Date a Last-Modified must be, so that the next version has another one. */
#define PROVEN_AFTER_MS 2000

const char *http_version_token(const struct http_response *response)
{
	const char *etag = http_header(response, "ETag");
	const char *date = http_header(response, "Last-Modified");

	if (version_is_usable(etag))
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
