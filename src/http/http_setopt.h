/*
 * http_setopt: options of libcurl, set and checked. Internal to http*.c.
 *
 * libcurl copies most strings that are passed to it. Without the memory for that, the option stays
 * unset, and the request would be sent without the configured proxy or credentials.
 */
#ifndef HTTP_HTTP_SETOPT_H
#define HTTP_HTTP_SETOPT_H

#include <curl/curl.h>

#include "base/err.h"

/* curl_easy_setopt() and curl_multi_setopt(): 0, or -1 with *err set. */
#define http_setopt(easy, option, value, err) \
	http_setopt_result(curl_easy_setopt((easy), option, (value)), #option, (err))
#define http_multi_setopt(multi, option, value, err) \
	http_multi_setopt_result(curl_multi_setopt((multi), option, (value)), #option, (err))

static inline int http_setopt_result(CURLcode code, const char *option, struct err *err)
{
	if (code == CURLE_OK)
		return 0;
	return err_set(err, ERR_INTERNAL, "HTTP: %s: %s", option, curl_easy_strerror(code));
}

static inline int http_multi_setopt_result(CURLMcode code, const char *option, struct err *err)
{
	if (code == CURLM_OK)
		return 0;
	return err_set(err, ERR_INTERNAL, "HTTP engine: %s: %s", option, curl_multi_strerror(code));
}

#endif
