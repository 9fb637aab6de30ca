/*
 * s3_url: "s3://bucket/key?region=…&endpoint=…", for terms on the command line. Special characters
 * of the key are percent-encoded. The query holds further options of the fetcher.
 */
#include <string.h>

#include "base/hex.h"
#include "base/util.h"
#include "fetchers/s3/s3_source.h"

static int decode(char *text, struct err *err)
{
	if (percent_decode(text))
		return 0;
	return err_set(err, ERR_CONFIG,
		       "URL: a \"%%\" must be followed by two hexadecimal digits (write \"%%\" "
		       "itself as %%25)");
}

static int take_pair(struct options *options, char *pair, struct err *err)
{
	char *value = strchr(pair, '=');

	if (!value)
		return err_set(err, ERR_CONFIG,
			       "URL: \"%.64s\" does not have the form OPTION=VALUE", pair);
	*value++ = '\0';
	if (decode(pair, err) < 0 || decode(value, err) < 0)
		return -1;
	if (strcmp(pair, "bucket") == 0 || strcmp(pair, "key") == 0)
		return err_set(err, ERR_CONFIG, "URL: %s must not be in the query", pair);
	return options_set(options, pair, value, err);
}

int s3_source_from_url(struct options *options, const char *url, struct err *err)
{
	_cleanup_free_ char *text = strdup(url + strlen("s3://"));

	if (!text)
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	char *query = strchr(text, '?'), *bucket = text;
	if (query)
		*query++ = '\0';
	char *key = strchr(bucket, '/');
	if (!key || !key[1])
		return err_set(err, ERR_CONFIG, "URL: does not have the form s3://BUCKET/KEY");
	*key++ = '\0';
	if (decode(bucket, err) < 0 || decode(key, err) < 0 ||
	    options_set(options, "bucket", bucket, err) < 0 ||
	    options_set(options, "key", key, err) < 0)
		return -1;
	for (char *pair; (pair = strsep(&query, "&"));) {
		if (*pair && take_pair(options, pair, err) < 0)
			return -1;
	}
	return 0;
}
