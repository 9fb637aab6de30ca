#include "fetchers/shared/base64.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/evp.h>

static bool is_digit(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '+' || c == '/';
}

ssize_t base64_decode(const char *text, size_t len, uint8_t *ret)
{
	size_t padding = 0;

	if (len % 4 != 0 || len > INT_MAX)
		return -1;
	if (len == 0)
		return 0;
	while (padding < 2 && text[len - 1 - padding] == '=')
		padding++;
	for (size_t i = 0; i < len - padding; i++) {
		if (!is_digit(text[i]))
			return -1;
	}
	if (EVP_DecodeBlock(ret, (const unsigned char *)text, (int)len) < 0)
		return -1;
	return (ssize_t)(len / 4 * 3 - padding);
}
