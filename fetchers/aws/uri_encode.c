#include "fetchers/aws/uri_encode.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/util.h"

static bool is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

char *uri_encode(const char *text, bool keep_slash, char *ret)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (is_unreserved(c) || (c == '/' && keep_slash))
			*ret++ = (char)c;
		else
			ret = percent_encode(c, ret);
	}
	*ret = '\0';
	return ret;
}

/* Both encoded texts are in one allocation. */
struct encoded_pair {
	char *name; /* owned */
	char *value;
};

static int compare_pairs(const void *a, const void *b)
{
	const struct encoded_pair *left = a, *right = b;
	int order = strcmp(left->name, right->name);

	return order ? order : strcmp(left->value, right->value);
}

static bool encode_pair(const struct uri_pair *pair, struct encoded_pair *ret)
{
	ret->name = malloc(URI_ENCODED_SIZE(strlen(pair->name)) +
			   URI_ENCODED_SIZE(strlen(pair->value)));
	if (!ret->name)
		return false;
	ret->value = uri_encode(pair->name, false, ret->name) + 1;
	uri_encode(pair->value, false, ret->value);
	return true;
}

static char *join_pairs(const struct encoded_pair *pairs, size_t n)
{
	size_t size = 1;

	for (size_t i = 0; i < n; i++)
		size += strlen(pairs[i].name) + strlen(pairs[i].value) + 2;
	char *ret = malloc(size), *end = ret;
	if (!ret)
		return NULL;
	*end = '\0';
	for (size_t i = 0; i < n; i++) {
		if (i)
			*end++ = '&';
		end = stpcpy(stpcpy(stpcpy(end, pairs[i].name), "="), pairs[i].value);
	}
	return ret;
}

char *uri_query(const struct uri_pair *pairs, size_t n)
{
	_cleanup_free_ struct encoded_pair *encoded = calloc(n + 1, sizeof(*encoded));
	char *ret = NULL;
	size_t made = 0;

	while (encoded && made < n && encode_pair(&pairs[made], &encoded[made]))
		made++;
	if (encoded && made == n) {
		qsort(encoded, n, sizeof(*encoded), compare_pairs);
		ret = join_pairs(encoded, n);
	}
	while (made)
		free(encoded[--made].name);
	return ret;
}
