/*
 * curl checks URLs and takes them apart. They are masked by hand, because the text to be masked may
 * not be a URL at all.
 */
#include "http/http_url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <idn2.h>

#include "base/util.h"

DEFINE_CLEANUP(CURLU, curl_url_cleanup)

static void part_cleanup(char **part)
{
	curl_free(*part);
}

const char *http_url_mask(const char *url, char *ret, size_t size)
{
	/* A "://" further behind is part of a path or of a query. */
	size_t scheme = strcspn(url, "/?#@");
	bool has_scheme = scheme && strncmp(url + scheme - 1, "://", 3) == 0;
	const char *host = has_scheme ? url + scheme + 2 : url;
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

/* Of a text that curl does not accept, any "@" may be the end of a password. */
static const char *mask_malformed(const char *text, char *ret, size_t size)
{
	const char *at = strrchr(text, '@');

	return http_url_mask(at ? at + 1 : text, ret, size);
}

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "URL: out of memory");
}

static int parse(CURLU **ret, const char *url, unsigned flags, struct err *err)
{
	_cleanup_(curl_url_cleanup_cleanup) CURLU *parts = curl_url();
	char shown[256];

	if (!parts)
		return out_of_memory(err);
	CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, flags);
	if (code == CURLUE_OUT_OF_MEMORY)
		return out_of_memory(err);
	if (code != CURLUE_OK)
		return err_set(err, ERR_CONFIG, "\"%s\" is not a URL: %s",
			       mask_malformed(url, shown, sizeof(shown)), curl_url_strerror(code));
	*ret = steal_ptr(&parts);
	return 0;
}

/* Does the host have to be converted? A "%" may stand for such a character. */
static bool is_ascii(const char *host, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)host[i] >= 0x80 || host[i] == '%')
			return false;
	}
	return true;
}

/* Sets a host as curl reads it in a URL, where digits are an address. */
static CURLUcode set_host(CURLU *parts, const char *host)
{
	/* First of all, because this refuses what may not be part of a host. */
	CURLUcode code = curl_url_set(parts, CURLUPART_HOST, host, 0);
	_cleanup_(curl_url_cleanup_cleanup) CURLU *alone = curl_url();
	_cleanup_(part_cleanup) char *read = NULL;
	char url[512];

	snprintf(url, sizeof(url), "http://%s/", host);
	if (code == CURLUE_OK)
		code = alone ? curl_url_set(alone, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
	if (code == CURLUE_OK)
		code = curl_url_get(alone, CURLUPART_HOST, &read, 0);
	return code == CURLUE_OK ? curl_url_set(parts, CURLUPART_HOST, read, 0) : code;
}

/* host: as the user wrote it. */
static int check_set(CURLUcode code, const char *host, struct err *err)
{
	if (code == CURLUE_OUT_OF_MEMORY)
		return out_of_memory(err);
	return code == CURLUE_OK ? 0 : err_set(err, ERR_CONFIG, "\"%s\" is not a host name", host);
}

/* Writes an internationalised host as servers and DNS know it (IDNA 2008). curl would need a locale
 * for that. */
static int make_ascii(CURLU *parts, struct err *err)
{
	_cleanup_(part_cleanup) char *host = NULL;
	char *ascii = NULL;

	if (curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK || host[0] == '[')
		return 0;
	/* curl has decoded it once. */
	if (strchr(host, '%'))
		return check_set(CURLUE_BAD_HOSTNAME, host, err);
	/* Digits that were written with "%" are an address as well. */
	if (is_ascii(host, strlen(host)))
		return isdigit((unsigned char)*host) ? check_set(set_host(parts, host), host, err)
						     : 0;
	int code = idn2_to_ascii_8z(host, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (code == IDN2_MALLOC)
		return out_of_memory(err);
	if (code != IDN2_OK)
		return err_set(err, ERR_CONFIG, "\"%s\" is not a host name: %s", host,
			       idn2_strerror(code));
	CURLUcode set = set_host(parts, ascii);
	idn2_free(ascii);
	return check_set(set, host, err);
}

/* RFC 1035, 2.3.4; a name may end with a dot. */
static bool is_host(const char *host)
{
	size_t label;

	if (*host == '[')
		return true;
	if (strlen(host) > 254)
		return false;
	do {
		label = strcspn(host, ".");
		if (label == 0 || label > 63)
			return false;
		host += label;
	} while (*host && *++host);
	return true;
}

static int check_address(const char *host, const char *port, struct err *err)
{
	if (!is_host(host))
		return err_set(err, ERR_CONFIG,
			       "\"%.255s\" is not a host name: each of its labels "
			       "must have 1 to 63 bytes",
			       host);
	if (strtol(port, NULL, 10) == 0)
		return err_set(err, ERR_CONFIG, "0 is not a port");
	return 0;
}

/* Gets a part that the URL must have. `missing` is the message if it does not. */
static int get_part(CURLU *parts, CURLUPart part, unsigned flags, const char *missing, char **ret,
		    struct err *err)
{
	CURLUcode code = curl_url_get(parts, part, ret, flags);

	if (code == CURLUE_OUT_OF_MEMORY)
		return out_of_memory(err);
	return code == CURLUE_OK ? 0 : err_set(err, ERR_CONFIG, "%s", missing);
}

/* Checks for characters that curl would reject. */
static int check_characters(const char *url, struct err *err)
{
	for (const char *c = url; *c; c++) {
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return err_set(err, ERR_CONFIG,
				       "a URL must not contain spaces or control characters");
	}
	/* curl takes any number of slashes. */
	const char *host = strstr(url, "://");
	if (host && host[3] == '/')
		return err_set(err, ERR_CONFIG, "a URL must name a host after ://");
	return 0;
}

/* curl says why there is no user; any other answer means that there may be one. */
static int refuse_user(CURLU *parts, struct err *err)
{
	_cleanup_(part_cleanup) char *user = NULL;
	_cleanup_(part_cleanup) char *password = NULL;
	CURLUcode user_code = curl_url_get(parts, CURLUPART_USER, &user, 0);
	CURLUcode password_code = curl_url_get(parts, CURLUPART_PASSWORD, &password, 0);

	if (user_code == CURLUE_NO_USER && password_code == CURLUE_NO_PASSWORD)
		return 0;
	if (user_code == CURLUE_OUT_OF_MEMORY || password_code == CURLUE_OUT_OF_MEMORY)
		return out_of_memory(err);
	return err_set(err, ERR_CONFIG,
		       "a URL must not contain a user or password: set the options user and "
		       "password");
}

int http_url_clean(const char *url, char **ret, struct err *err)
{
	_cleanup_(curl_url_cleanup_cleanup) CURLU *parts = NULL;
	_cleanup_(part_cleanup) char *clean = NULL;

	if (parse(&parts, url, 0, err) < 0 || make_ascii(parts, err) < 0)
		return -1;
	/* Removing a part cannot fail. */
	curl_url_set(parts, CURLUPART_USER, NULL, 0);
	curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0);
	curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0);
	if (get_part(parts, CURLUPART_URL, 0, "not a URL", &clean, err) < 0)
		return -1;
	char *copy = strdup(clean);
	if (!copy)
		return out_of_memory(err);
	*ret = copy;
	return 0;
}

static int find_origin(const char *url, char **ret, struct err *err)
{
	static const char no_scheme[] = "a URL must begin with http:// or https://";
	_cleanup_(curl_url_cleanup_cleanup) CURLU *parts = NULL;
	_cleanup_(part_cleanup) char *scheme = NULL;
	_cleanup_(part_cleanup) char *host = NULL;
	_cleanup_(part_cleanup) char *port = NULL;
	char *origin;

	if (parse(&parts, url, 0, err) < 0 || make_ascii(parts, err) < 0 ||
	    get_part(parts, CURLUPART_SCHEME, 0, no_scheme, &scheme, err) < 0)
		return -1;
	if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		return err_set(err, ERR_CONFIG, "%s", no_scheme);
	if (refuse_user(parts, err) < 0 ||
	    get_part(parts, CURLUPART_HOST, 0, "a URL must name a host", &host, err) < 0 ||
	    get_part(parts, CURLUPART_PORT, CURLU_DEFAULT_PORT, "a URL must name a port", &port,
		     err) < 0 ||
	    check_address(host, port, err) < 0)
		return -1;
	if (asprintf(&origin, "%s://%s:%s", scheme, host, port) < 0)
		return out_of_memory(err);
	for (char *c = origin; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	*ret = origin;
	return 0;
}

/* The length of "https://example.com:8443". */
static size_t authority_length(const char *url)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	return (size_t)(host - url) + strcspn(host, "/?#");
}

int http_url_ascii(const char *url, char **ret, struct err *err)
{
	_cleanup_(curl_url_cleanup_cleanup) CURLU *parts = NULL;
	_cleanup_(part_cleanup) char *ascii = NULL;

	if (!is_ascii(url, authority_length(url)) &&
	    (parse(&parts, url, CURLU_PATH_AS_IS, err) < 0 || make_ascii(parts, err) < 0 ||
	     get_part(parts, CURLUPART_URL, 0, "not a URL", &ascii, err) < 0))
		return -1;
	*ret = strdup(ascii ? ascii : url);
	return *ret ? 0 : out_of_memory(err);
}

/* Remembers the last answer: a configuration of many terms has many URLs of few servers, and curl
 * takes two microseconds for each. */
int http_url_origin(const char *url, char **ret, struct err *err)
{
	static _Thread_local char authority[128], origin[160];
	size_t len = authority_length(url);

	if (check_characters(url, err) < 0)
		return -1;
	if (len > 0 && len < sizeof(authority) && strncmp(url, authority, len) == 0 &&
	    !authority[len]) {
		*ret = strdup(origin);
		return *ret ? 0 : out_of_memory(err);
	}
	if (find_origin(url, ret, err) < 0)
		return -1;
	if (len < sizeof(authority) && strlen(*ret) < sizeof(origin)) {
		memcpy(authority, url, len);
		authority[len] = '\0';
		strcpy(origin, *ret);
	}
	return 0;
}

int http_url_check_proxy(const char *proxy, struct err *err)
{
	_cleanup_(curl_url_cleanup_cleanup) CURLU *parts = NULL;
	_cleanup_(part_cleanup) char *host = NULL;
	_cleanup_(part_cleanup) char *port = NULL;

	if (parse(&parts, proxy, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME, err) < 0 ||
	    get_part(parts, CURLUPART_HOST, 0, "its URL names no host", &host, err) < 0)
		return -1;
	/* Without a port, curl has a default for each kind of proxy. */
	curl_url_get(parts, CURLUPART_PORT, &port, 0);
	return check_address(host, port ? port : "1080", err);
}

bool http_is_loopback(const char *host)
{
	size_t len = strcspn(host, ":");
	char name[64];
	struct in_addr v4;

	if (host[0] == '[')
		return strncmp(host, "[::1]", 5) == 0;
	if (len >= sizeof(name))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)len, host);
	return strcmp(name, "localhost") == 0 ||
	       (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}
