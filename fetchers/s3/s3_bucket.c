#include "fetchers/s3/s3_bucket.h"

#include <string.h>

#include "base/utf8.h"
#include "base/util.h"

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool has_suffix(const char *text, size_t len, const char *suffix)
{
	size_t suffix_len = strlen(suffix);

	return len >= suffix_len && memcmp(text + len - suffix_len, suffix, suffix_len) == 0;
}

/* ---- hosts ---- */

bool s3_is_address(const char *host)
{
	return host[0] == '[' || strspn(host, "0123456789.") == strcspn(host, ":");
}

bool s3_host_region(const char *host, const char *bucket, char ret[AWS_REGION_SIZE])
{
	static const char *const forms[] = { "s3.dualstack.", "s3-fips.dualstack.", "s3-fips.",
					     "s3.", "s3-" };
	size_t bucket_len = strlen(bucket);
	char region[AWS_REGION_SIZE];

	if (has_prefix(host, bucket) && host[bucket_len] == '.')
		host += bucket_len + 1;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (!has_prefix(host, forms[i]))
			continue;
		const char *start = host + strlen(forms[i]);
		size_t len = strcspn(start, ".:/?");
		/* The middle one of only three labels is not a region: "s3.example.com". */
		if (start[len] != '.' || len >= sizeof(region) ||
		    !memchr(start + len + 1, '.', strcspn(start + len + 1, ":/?")))
			return false;
		memcpy(region, start, len);
		region[len] = '\0';
		if (!aws_is_region(region))
			return false;
		memcpy(ret, region, len + 1);
		return true;
	}
	return false;
}

/* ---- buckets ---- */

bool s3_is_dns_bucket(const char *bucket)
{
	size_t len = strlen(bucket);

	if (len < 3 || len > 63 || !is_lower_or_digit(bucket[0]) ||
	    !is_lower_or_digit(bucket[len - 1]) || strstr(bucket, "..") ||
	    strspn(bucket, "0123456789.") == len)
		return false;
	for (; *bucket; bucket++) {
		if (!is_lower_or_digit(*bucket) && *bucket != '.' && *bucket != '-')
			return false;
	}
	return true;
}

/* Names that AWS once accepted, and that other services still accept. */
static bool is_old_bucket(const char *bucket)
{
	size_t len = strlen(bucket);

	return len >= 3 && len <= 255 && bucket[0] != '.' &&
	       strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-") == len;
}

/* Ceph's "TENANT:BUCKET". */
static bool is_tenant_bucket(const char *bucket)
{
	const char *colon = strchr(bucket, ':');

	return colon && colon > bucket && is_old_bucket(colon + 1);
}

int s3_bucket_check(const char *bucket, bool is_elsewhere, struct err *err)
{
	size_t len = strlen(bucket);

	if (has_prefix(bucket, "arn:"))
		return err_set(err, ERR_CONFIG,
			       "bucket: ARNs are not supported; write the alias of an access "
			       "point (…-s3alias)");
	if (has_prefix(bucket, "s3:"))
		return err_set(err, ERR_CONFIG, "bucket: write the name only, without \"s3://\"");
	if (strchr(bucket, '/'))
		return err_set(err, ERR_CONFIG,
			       "bucket: \"%.64s\" contains a \"/\"; the part after it belongs "
			       "in key",
			       bucket);
	if (!is_elsewhere && has_suffix(bucket, len, "--x-s3"))
		return err_set(err, ERR_CONFIG,
			       "bucket: directory buckets (S3 Express, --x-s3) are not supported");
	if (s3_is_dns_bucket(bucket) || is_old_bucket(bucket) ||
	    (is_elsewhere && is_tenant_bucket(bucket)))
		return 0;
	return err_set(err, ERR_CONFIG,
		       "bucket: \"%.64s\" is not a valid name: 3 to 63 of a-z, 0-9, \"-\" and "
		       "\".\", beginning and ending with a letter or digit",
		       bucket);
}

/* ---- keys ---- */

int s3_key_check(const char *key, struct err *err)
{
	size_t len = strlen(key), step;

	if (len == 0)
		return err_set(err, ERR_CONFIG, "must not be empty");
	if (len > S3_KEY_MAX)
		return err_set(err, ERR_CONFIG, "%zu bytes, but S3 allows no more than %d", len,
			       S3_KEY_MAX);
	for (const char *at = key; *at; at += step) {
		step = utf8_length(at);
		if (!step)
			return err_set(err, ERR_CONFIG, "not valid UTF-8");
	}
	return 0;
}
