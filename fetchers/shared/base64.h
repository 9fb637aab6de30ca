/*
 * base64: strict decoding (RFC 4648, section 4). OpenSSL's EVP_DecodeBlock() accepts more.
 */
#ifndef FETCHERS_SHARED_BASE64_H
#define FETCHERS_SHARED_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Room for what len characters decode to, padding included. */
#define BASE64_DECODED_SIZE(len) ((len) / 4 * 3 + 1)

/* Decodes exactly len characters, with padding and without white space. ret holds
 * BASE64_DECODED_SIZE(len) bytes. Returns the number of bytes, or -1 if the text is not base64. */
ssize_t base64_decode(const char *text, size_t len, uint8_t *ret);

#endif
