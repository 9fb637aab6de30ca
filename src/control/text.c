#include "control/text.h"

#include <string.h>

json_t *text_json(const char *text)
{
	if (!text)
		return json_null();
	json_t *string = json_string(text);
	if (string)
		return string;

	_cleanup_free_ char *ascii = strdup(text);
	if (!ascii)
		return NULL;
	for (char *c = ascii; *c; c++) {
		if ((unsigned char)*c > 0x7f)
			*c = '?';
	}
	return json_string(ascii);
}

void text_label(FILE *out, const char *text)
{
	_cleanup_(json_decref_cleanup) json_t *string = text_json(text);

	for (const char *c = string ? json_string_value(string) : ""; *c; c++) {
		if (*c == '\\' || *c == '"')
			fprintf(out, "\\%c", *c);
		else if (*c == '\n')
			fputs("\\n", out);
		else
			putc(*c, out);
	}
}
