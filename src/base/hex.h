/*
 * hex: hexadecimal digits, and the percent-encoding of URLs (RFC 3986, section 2.1), which consists
 * of them.
 */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>

/* The value of one digit of either case, or -1. */
int hex_digit(char c);

/* Writes len bytes as 2 * len lower-case digits, and a NUL. Returns the NUL's place. */
char *hex_encode(const void *data, size_t len, char *ret);

/* Writes "%XX" with upper-case digits, without a NUL. Returns the place behind it. */
char *percent_encode(unsigned char byte, char ret[3]);

/* Decodes each %XX of the text in place; "+" is not special. Returns false, and leaves the text
 * undefined, if a "%" is not followed by two digits, or if they are 00. */
bool percent_decode(char *text);

#endif
