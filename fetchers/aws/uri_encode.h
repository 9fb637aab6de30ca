/*
 * uri_encode: paths and queries in the encoding that AWS Signature Version 4 signs and that
 * requests use. Encode each text exactly once.
 */
#ifndef FETCHERS_AWS_URI_ENCODE_H
#define FETCHERS_AWS_URI_ENCODE_H

#include <stdbool.h>
#include <stddef.h>

#define URI_ENCODED_SIZE(len) (3 * (len) + 1)

/*
 * Writes every byte except A-Z a-z 0-9 - . _ ~ as %XX; '/' too unless keep_slash. ret holds
 * URI_ENCODED_SIZE(strlen(text)) bytes. Returns the end, where the NUL is.
 */
char *uri_encode(const char *text, bool keep_slash, char *ret);

struct uri_pair {
	const char *name, *value;
};

/* "name=value&…", encoded, sorted by name and then by value. The caller frees it; NULL: out of
 * memory. */
char *uri_query(const struct uri_pair *pairs, size_t n);

#endif
