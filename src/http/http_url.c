/*
 * URLs: checked and taken apart by curl, masked by hand, since what is masked may be no URL at all.
 */
#include <ctype.h>
#include <string.h>

#include <curl/curl.h>

#include "base/util.h"
#include "http/http.h"

DEFINE_CLEANUP(CURLU, curl_url_cleanup)

static void part_cleanup(char **part)
{
	curl_free(*part);
}

const char *http_url_mask(const char *url, char *ret, size_t size)
{
	const char *scheme_end = strstr(url, "://");
	const char *host = scheme_end ? scheme_end + 3 : url;
	size_t authority = strcspn(host, "/?#");
	const char *at = memrchr(host, '@', authority);
	size_t visible;

	if (at)
		authority -= (size_t)(at + 1 - host);
	const char *shown = at ? at + 1 : host;
	visible = authority + strcspn(shown + authority, "?#");
	snprintf(ret, size, "%.*s%.*s%s", (int)(host - url), url, (int)visible, shown,
		 shown[visible] == '?' ? "?…" : "");
	return ret;
}

static int parse(CURLU **ret, const char *url, struct err *err)
{
	_cleanup_(curl_url_cleanup_cleanup) CURLU *parts = curl_url();
	char shown[256];

	if (!parts)
		return err_set(err, ERR_INTERNAL, "URL: out of memory");
	CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, 0);
	if (code != CURLUE_OK)
		return err_set(err, ERR_CONFIG, "\"%s\" is no URL: %s",
			       http_url_mask(url, shown, sizeof(shown)), curl_url_strerror(code));
	*ret = steal_ptr(&parts);
	return 0;
}

/* What curl would put up with. */
static int check_text(const char *url, struct err *err)
{
	for (const char *c = url; *c; c++) {
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return err_set(err, ERR_CONFIG,
				       "an URL holds no spaces and control characters");
	}
	/* curl takes any number of slashes. */
	const char *host = strstr(url, "://");
	if (host && host[3] == '/')
		return err_set(err, ERR_CONFIG, "an URL names a host behind ://");
	return 0;
}

static int check_parts(CURLU *parts, const char *scheme, struct err *err)
{
	_cleanup_(part_cleanup) char *user = NULL;
	_cleanup_(part_cleanup) char *password = NULL;

	if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		return err_set(err, ERR_CONFIG, "an URL begins with http:// or https://");
	if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK ||
	    curl_url_get(parts, CURLUPART_PASSWORD, &password, 0) == CURLUE_OK)
		return err_set(err, ERR_CONFIG,
			       "an URL holds no user and password here: set the options user and "
			       "password");
	return 0;
}

int http_url_origin(const char *url, char **ret, struct err *err)
{
	_cleanup_(curl_url_cleanup_cleanup) CURLU *parts = NULL;
	_cleanup_(part_cleanup) char *scheme = NULL;
	_cleanup_(part_cleanup) char *host = NULL;
	_cleanup_(part_cleanup) char *port = NULL;
	char *origin;

	if (check_text(url, err) < 0 || parse(&parts, url, err) < 0)
		return -1;
	if (curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return err_set(err, ERR_CONFIG, "an URL begins with http:// or https://");
	if (check_parts(parts, scheme, err) < 0)
		return -1;
	if (curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
		return err_set(err, ERR_CONFIG, "an URL names a host");
	if (asprintf(&origin, "%s://%s:%s", scheme, host, port) < 0)
		return err_set(err, ERR_INTERNAL, "URL: out of memory");
	for (char *c = origin; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	*ret = origin;
	return 0;
}
