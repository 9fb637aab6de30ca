#include <stdio.h>
#include <string.h>

#include "fetch/fetcher.h"

const char *version_display(const char *token, char ret[VERSION_SIZE])
{
	const char *tag = strncmp(token, "W/\"", 3) == 0 ? token + 2 : token;
	size_t len = strlen(tag);

	if (len >= 2 && tag[0] == '"' && tag[len - 1] == '"')
		snprintf(ret, VERSION_SIZE, "%.*s", (int)len - 2, tag + 1);
	else
		snprintf(ret, VERSION_SIZE, "%s", token);
	return ret;
}

bool version_is_usable(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	return len > 0 && len < VERSION_SIZE;
}
