#include "base/json_depth.h"

bool json_is_deeper(const char *text, size_t len, unsigned max)
{
	bool is_string = false;
	unsigned depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (is_string) {
			if (c == '\\')
				i++;
			is_string = c != '"';
		} else if (c == '"') {
			is_string = true;
		} else if (c == '[' || c == '{') {
			if (++depth > max)
				return true;
		} else if ((c == ']' || c == '}') && depth) {
			depth--;
		}
	}
	return false;
}
