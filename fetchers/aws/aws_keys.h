/*
 * aws_keys: one set of keys in locked memory, reference-counted and immutable.
 */
#ifndef FETCHERS_AWS_AWS_KEYS_H
#define FETCHERS_AWS_AWS_KEYS_H

#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

#define AWS_NEVER INT64_MAX

/* The strings are printable ASCII without spaces. */
struct aws_keys {
	const char *access_key;
	const char *secret_key;
	const char *session_token; /* NULL: none */
	uint64_t serial; /* counts the keys that one chain has had, from 1; 0: not in a chain yet */
};

/* Keys as a provider gives them; borrowed. */
struct aws_key_texts {
	const char *access_key, *secret_key;
	const char *session_token; /* NULL or empty: none */
	const char *expiration;	   /* RFC 3339; NULL or empty: never */
};

/* Copies the texts and returns one reference. ERR_DENIED if they are not usable as keys; the
 * message names `where` ("profile "x"") and never contains a key. */
int aws_keys_new(struct aws_keys **ret, const struct aws_key_texts *texts, const char *where,
		 struct err *err);
struct aws_keys *aws_keys_ref(struct aws_keys *keys);
/* Drops a reference; the last one wipes the keys. NULL is allowed. */
void aws_keys_free(struct aws_keys *keys);

DEFINE_CLEANUP(struct aws_keys, aws_keys_free)

/* When the keys expire, on the wall clock; AWS_NEVER. */
int64_t aws_keys_expire_ms(const struct aws_keys *keys);

/* Sets the serial. Only before another thread can see the keys. */
void aws_keys_number(struct aws_keys *keys, uint64_t serial);

/* Parses "2026-01-31T12:00:00Z", also with a fraction or an offset. Returns -1 and leaves *ret
 * alone for any other text. */
int aws_time_ms(const char *text, int64_t *ret);

#endif
