#include "fetchers/s3/s3_address.h"

#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "http/http.h"
#include "fetchers/aws/aws_region.h"
#include "fetchers/aws/sigv4.h"
#include "fetchers/s3/s3_bucket.h"

static int no_memory(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "s3: out of memory");
}

/* ---- the option endpoint ---- */

static bool is_path(const char *path)
{
	for (; *path; path++) {
		if (!(*path >= 'a' && *path <= 'z') && !(*path >= 'A' && *path <= 'Z') &&
		    !(*path >= '0' && *path <= '9') && !strchr("-._~/", *path))
			return false;
	}
	return true;
}

static const char *path_of(const char *endpoint)
{
	const char *path = strstr(endpoint, "://") + 3;

	return path + strcspn(path, "/?#");
}

/* The endpoint's host as in the Host header. The caller frees it. */
static int read_host(const char *endpoint, bool *ret_is_tls, char **ret, struct err *err)
{
	_cleanup_free_ char *origin = NULL;

	if (http_url_origin(endpoint, &origin, err) < 0)
		return -1;
	*ret_is_tls = strncmp(origin, "https:", 6) == 0;
	*ret = sigv4_host(origin);
	return *ret ? 0 : no_memory(err);
}

int s3_endpoint_check(const char *endpoint, struct err *err)
{
	_cleanup_free_ char *host = NULL;
	bool is_tls;

	if (strncasecmp(endpoint, "http://", 7) != 0 && strncasecmp(endpoint, "https://", 8) != 0)
		return err_set(err, ERR_CONFIG, "must begin with http:// or https://");
	if (strchr(endpoint, '@'))
		return err_set(err, ERR_CONFIG,
			       "must not contain user and password; keys come from the environment "
			       "or credentials_file");
	if (read_host(endpoint, &is_tls, &host, err) < 0)
		return -1;
	if (strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:[]") != strlen(host))
		return err_set(err, ERR_CONFIG, "\"%.200s\" is not a host name", host);
	if (strpbrk(path_of(endpoint), "?#"))
		return err_set(err, ERR_CONFIG,
			       "must not have a query or fragment (\"?…\", \"#…\")");
	if (!is_path(path_of(endpoint)))
		return err_set(err, ERR_CONFIG,
			       "its path may contain only letters, digits and -._~/");
	return 0;
}

int s3_endpoint_check_bucket(const char *endpoint, const char *bucket, struct err *err)
{
	_cleanup_free_ char *host = NULL;
	size_t len = strlen(bucket);
	bool is_tls;

	if (read_host(endpoint, &is_tls, &host, err) < 0)
		return -1;
	if (aws_is_host(host) && strncmp(host, bucket, len) == 0 && host[len] == '.')
		return err_set(err, ERR_CONFIG,
			       "write the host without the bucket (addressing = virtual adds it)");
	return 0;
}

int s3_location_set_endpoint(struct s3_location *location, const char *endpoint, struct err *err)
{
	location->is_tls = true;
	location->prefix = strdup(endpoint ? path_of(endpoint) : "");
	if (!location->prefix)
		return no_memory(err);
	for (size_t len = strlen(location->prefix); len && location->prefix[len - 1] == '/'; len--)
		location->prefix[len - 1] = '\0';
	return endpoint ? read_host(endpoint, &location->is_tls, &location->host, err) : 0;
}

/* ---- the bucket ---- */

int s3_location_check_virtual(const struct s3_location *location, const char **ret_option,
			      struct err *err)
{
	*ret_option = "endpoint";
	if (location->host && s3_is_address(location->host))
		return err_set(
			err, ERR_CONFIG,
			"addressing: the endpoint is an IP address, so the bucket cannot be part "
			"of its name: use \"path\"");
	if (!location->host && strchr(location->bucket, '.'))
		return err_set(
			err, ERR_CONFIG,
			"addressing: AWS's certificates do not cover buckets with a \".\": use "
			"\"path\"");
	*ret_option = "bucket";
	if (!s3_is_dns_bucket(location->bucket))
		return err_set(
			err, ERR_CONFIG,
			"addressing: the bucket \"%.64s\" cannot be part of a host name: use "
			"\"path\"",
			location->bucket);
	return 0;
}

/* AWS expects virtual addressing; every other service accepts path addressing. */
static bool is_virtual_by_itself(const struct s3_location *location)
{
	return (!location->host || aws_is_host(location->host)) &&
	       s3_is_dns_bucket(location->bucket) && !strchr(location->bucket, '.');
}

void s3_location_set_addressing(struct s3_location *location, enum s3_addressing addressing)
{
	switch (addressing) {
	case S3_ADDRESSING_AUTO:
		location->is_virtual = is_virtual_by_itself(location);
		break;
	case S3_ADDRESSING_PATH:
		location->is_virtual = false;
		break;
	case S3_ADDRESSING_VIRTUAL:
		location->is_virtual = true;
		break;
	}
}

void s3_location_release(struct s3_location *location)
{
	free(steal_ptr(&location->host));
	free(steal_ptr(&location->prefix));
}

/* ---- a request's address ---- */

/* Where the region is a component of the host name; NULL: nowhere. */
static const char *find_region(const char *host, const char *region)
{
	size_t len = strlen(region);

	for (const char *at = host; (at = strstr(at, region)); at++) {
		if ((at == host || strchr(".-", at[-1])) && strchr(".:", at[len]))
			return at;
	}
	return NULL;
}

/* The endpoint with its region replaced, if its name contains one. */
static char *host_elsewhere(const struct s3_location *location, const char *region)
{
	const char *host = location->host, *home = location->region;
	const char *at = find_region(host, home);
	char *ret;

	if (!at)
		return strdup(host);
	if (asprintf(&ret, "%.*s%s%s", (int)(at - host), host, region, at + strlen(home)) < 0)
		return NULL;
	return ret;
}

static char *host_of(const struct s3_location *location, const char *region)
{
	char *ret;

	if (location->host)
		return host_elsewhere(location, region);
	if (asprintf(&ret, "s3%s%s.%s.%s", location->is_fips ? "-fips" : "",
		     location->is_dualstack ? ".dualstack" : "", region, aws_domain(region)) < 0)
		return NULL;
	return ret;
}

void s3_address_release(struct s3_address *address)
{
	free(steal_ptr(&address->host));
	free(steal_ptr(&address->path));
}

int s3_address_make(const struct s3_location *location, const char *region, struct s3_address *ret,
		    struct err *err)
{
	_cleanup_free_ char *host = host_of(location, region);
	_cleanup_(s3_address_release) struct s3_address made = S3_ADDRESS_INIT;
	bool is_virtual = location->is_virtual;

	if (!host)
		return no_memory(err);
	if (asprintf(&made.host, "%s%s%s", is_virtual ? location->bucket : "",
		     is_virtual ? "." : "", host) < 0) {
		made.host = NULL;
		return no_memory(err);
	}
	if (asprintf(&made.path, "%s%s%s/%s", location->prefix, is_virtual ? "" : "/",
		     is_virtual ? "" : location->bucket, location->key) < 0) {
		made.path = NULL;
		return no_memory(err);
	}
	*ret = made;
	made = (struct s3_address)S3_ADDRESS_INIT;
	return 0;
}
