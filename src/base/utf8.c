#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* *ret_code is the code point, if the length is not 0. */
static size_t decode(const char *text, uint32_t *ret_code)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)text[0];
	uint32_t code;
	size_t len;

	*ret_code = first;
	if (first < 0x80)
		return 1;
	if ((first & 0xe0) == 0xc0) {
		code = first & 0x1f;
		len = 2;
	} else if ((first & 0xf0) == 0xe0) {
		code = first & 0x0f;
		len = 3;
	} else if ((first & 0xf8) == 0xf0) {
		code = first & 0x07;
		len = 4;
	} else {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		if (!is_continuation(text[i]))
			return 0;
		code = code << 6 | ((unsigned char)text[i] & 0x3f);
	}
	if (code < smallest[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret_code = code;
	return len;
}

size_t utf8_length(const char *text)
{
	uint32_t code;

	return decode(text, &code);
}

size_t utf8_printable(const char *text)
{
	uint32_t code;
	size_t len = decode(text, &code);
	bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
	bool is_bidi = code == 0x61c || code == 0x200e || code == 0x200f ||
		       (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);

	return is_control || is_bidi ? 0 : len;
}

void utf8_make_printable(char *text)
{
	for (size_t len; *text; text += len) {
		len = utf8_printable(text);
		if (!len) {
			*text = '?';
			len = 1;
		}
	}
}

size_t utf8_cut(const char *text, size_t len)
{
	while (len && is_continuation(text[len]))
		len--;
	return len;
}
