/*
 * utf8: characters of UTF-8 (RFC 3629) in any bytes.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>

/* The length of the character at the beginning of the NUL-terminated text; 0 if it is not UTF-8
 * (this includes surrogates, overlong forms and code points above U+10FFFF). A NUL has length 1. */
size_t utf8_length(const char *text);

/* The same, but 0 too for characters that may change what a terminal shows: controls (also C1), and
 * those that change the direction of text. */
size_t utf8_printable(const char *text);

/* Replaces each byte of all other characters by '?'. */
void utf8_make_printable(char *text);

/* The largest length up to len at which the text can be cut without splitting a character. */
size_t utf8_cut(const char *text, size_t len);

#endif
