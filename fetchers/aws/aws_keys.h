/*
 * aws_keys: one set of keys in locked memory, counted and immutable.
 */
#ifndef FETCHERS_AWS_AWS_KEYS_H
#define FETCHERS_AWS_AWS_KEYS_H

#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "fetchers/aws/aws_credentials.h"

#define AWS_NEVER INT64_MAX

/* What a place says; borrowed. */
struct aws_key_texts {
	const char *access_key, *secret_key;
	const char *session_token; /* NULL or empty: none */
	const char *expiration;	   /* RFC 3339; NULL or empty: never */
};

/* One reference. The texts are copied. ERR_DENIED, which names `where` ("profile "x""), if they
 * are not usable. */
int aws_keys_new(struct aws_keys **ret, const struct aws_key_texts *texts, const char *where,
		 struct err *err);
struct aws_keys *aws_keys_ref(struct aws_keys *keys);

/* Wall clock; AWS_NEVER. */
int64_t aws_keys_expire_ms(const struct aws_keys *keys);

/* Before anybody else has seen the keys. */
void aws_keys_number(struct aws_keys *keys, uint64_t serial);

DEFINE_CLEANUP(struct aws_keys, aws_keys_free)

/* "2026-01-31T12:00:00Z", with a fraction, with an offset. Returns -1, and *ret is left alone, if
 * the text is something else. */
int aws_time_ms(const char *text, int64_t *ret);

#endif
