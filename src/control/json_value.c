#include "control/json_value.h"

#include <string.h>

json_t *json_value_text(const char *text)
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

json_t *json_value_error(enum err_kind kind, const char *message)
{
	return json_pack("{s:s, s:o}", "kind", err_kind_name(kind), "message",
			 json_value_text(message ? message : ""));
}
