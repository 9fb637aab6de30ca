#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/fetcher.h"

const char *version_text(const struct version *version, char ret[VERSION_TEXT_SIZE])
{
	char sent_at[24] = "";

	if (version->sent_at_ms)
		snprintf(sent_at, sizeof(sent_at), "\n%" PRId64, version->sent_at_ms);
	if (*version->token)
		snprintf(ret, VERSION_TEXT_SIZE, "%s%s%s%s", version->token,
			 *version->notes || *sent_at ? "\n" : "", version->notes, sent_at);
	else
		ret[0] = '\0';
	return ret;
}

void version_read(struct version *ret, const char *text)
{
	const char *notes = text + strcspn(text, "\n");
	const char *sent_at;

	snprintf(ret->token, sizeof(ret->token), "%.*s", (int)(notes - text), text);
	notes += *notes == '\n';
	sent_at = notes + strcspn(notes, "\n");
	snprintf(ret->notes, sizeof(ret->notes), "%.*s", (int)(sent_at - notes), notes);
	ret->sent_at_ms = *sent_at ? strtoll(sent_at + 1, NULL, 10) : 0;
}

/* The encoding of an ETag's bytes above 0x7f is unknown: they are shown by number. */
static void show_etag(const char *tag, size_t len, char ret[VERSION_SIZE])
{
	size_t used = 0;

	for (size_t i = 0; i < len && used + sizeof("\\xff") <= VERSION_SIZE; i++) {
		unsigned char byte = (unsigned char)tag[i];
		used += (size_t)snprintf(ret + used, VERSION_SIZE - used,
					 byte < 0x80 ? "%c" : "\\x%02x", byte);
	}
	ret[used] = '\0';
}

const char *version_display(const char *text, char ret[VERSION_SIZE])
{
	const char *tag = text;
	size_t len = strcspn(text, "\n");

	if (strncmp(text, "W/\"", 3) == 0) {
		tag += 2;
		len -= 2;
	}
	if (len >= 2 && tag[0] == '"' && tag[len - 1] == '"')
		show_etag(tag + 1, len - 2, ret);
	else
		snprintf(ret, VERSION_SIZE, "%.*s", (int)strcspn(text, "\n"), text);
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
