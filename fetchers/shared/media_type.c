#include "fetchers/shared/media_type.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TOKEN	   "!#$%&'+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SHOWN_SIZE 160

static bool is_media_type(const char *text)
{
	size_t type = strspn(text, TOKEN);

	if (type == 0 || text[type] != '/')
		return false;
	const char *subtype = text + type + 1;
	return strcmp(subtype, "*") == 0 || (*subtype && subtype[strspn(subtype, TOKEN)] == '\0');
}

int media_type_check(const char *wanted, struct err *err)
{
	if (is_media_type(wanted))
		return 0;
	return err_set(err, ERR_CONFIG,
		       "\"%.64s\" is not a media type such as \"application/json\" or \"text/*\"",
		       wanted);
}

/* The length of the type without parameters. */
static size_t type_length(const char *answered)
{
	size_t len = strcspn(answered, ";");

	while (len > 0 && (answered[len - 1] == ' ' || answered[len - 1] == '\t'))
		len--;
	return len;
}

static bool is_of_type(const char *wanted, const char *answered, size_t len)
{
	size_t prefix = strcspn(wanted, "*");

	if (wanted[prefix])
		return len > prefix && strncasecmp(wanted, answered, prefix) == 0;
	return len == prefix && strncasecmp(wanted, answered, len) == 0;
}

int media_type_take(const char *const *wanted, const char *answered, const char *shown,
		    struct err *err)
{
	size_t len = type_length(answered), used = 0;
	char list[SHOWN_SIZE] = "";

	if (!wanted || !*wanted)
		return 0;
	for (const char *const *type = wanted; *type; type++) {
		if (is_of_type(*type, answered, len))
			return 0;
	}
	for (const char *const *type = wanted; *type && used < sizeof(list); type++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 type == wanted ? "" : ", ", *type);
	if (len == 0)
		return err_set(
			err, ERR_BAD_DATA,
			"GET %s: the response has no content type, expected %s (content_type)",
			shown, list);
	return err_set(err, ERR_BAD_DATA,
		       "GET %s: the content type is %.*s, expected %s (content_type)", shown,
		       len < 64 ? (int)len : 64, answered, list);
}
