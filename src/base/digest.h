/*
 * digest: SHA-256 (OpenSSL's EVP), at once and in pieces.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DIGEST_SIZE	32
#define DIGEST_HEX_SIZE (2 * DIGEST_SIZE + 1)

struct digest;

int digest_new(struct digest **ret, struct err *err);
void digest_free(struct digest *digest);

/* Starts over. */
int digest_reset(struct digest *digest, struct err *err);
int digest_update(struct digest *digest, const void *data, size_t len, struct err *err);
int digest_final(struct digest *digest, uint8_t ret[DIGEST_SIZE], struct err *err);

/* SHA-256 of data in one call. */
int digest_of(const void *data, size_t len, uint8_t ret[DIGEST_SIZE], struct err *err);

/* Lower-case hexadecimal. Returns ret. */
const char *digest_hex(const uint8_t digest[DIGEST_SIZE], char ret[DIGEST_HEX_SIZE]);

#endif
