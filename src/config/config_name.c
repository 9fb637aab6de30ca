#include "config/config_name.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"
#include "base/util.h"

/* Valid UTF-8 without control characters (C0, DEL, C1). */
static int check_text(const char *text, const char *what, struct err *err)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p) {
		size_t len = utf8_length((const char *)p);
		if (len == 0)
			return err_set(err, ERR_CONFIG, "%s is not valid UTF-8", what);
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			return err_set(err, ERR_CONFIG, "%s has a control character in it", what);
		p += len;
	}
	return 0;
}

int name_check(const char *name, struct err *err)
{
	if (!*name)
		return err_set(err, ERR_CONFIG, "the name is empty");
	if (strlen(name) > NAME_MAX_BYTES)
		return err_set(err, ERR_CONFIG, "the name is longer than %d bytes", NAME_MAX_BYTES);
	if (check_text(name, "the name", err) < 0)
		return -1;
	if (*name == '/')
		return err_set(err, ERR_CONFIG, "the name begins with \"/\"");
	if (name[strlen(name) - 1] == '/')
		return err_set(err, ERR_CONFIG, "the name ends with \"/\"");

	for (const char *component = name;;) {
		size_t len = strcspn(component, "/");
		if (len == 0)
			return err_set(err, ERR_CONFIG, "the name has \"//\" in it");
		if (component[0] == '.')
			return err_set(err, ERR_CONFIG,
				       "no part of a name may begin with \".\": \"%.*s\"",
				       (int)(len < 64 ? len : 64), component);
		if (len > NAME_COMPONENT_MAX)
			return err_set(err, ERR_CONFIG,
				       "a part of the name is longer than %d bytes",
				       NAME_COMPONENT_MAX);
		if (!component[len])
			return 0;
		component += len + 1;
	}
}

int name_check_alias(const char *alias, struct err *err)
{
	if (!*alias)
		return err_set(err, ERR_CONFIG, "it is empty");
	if (strlen(alias) > NAME_COMPONENT_MAX)
		return err_set(err, ERR_CONFIG, "it is longer than %d bytes", NAME_COMPONENT_MAX);
	return check_text(alias, "it", err);
}

char *path_absolute(const char *base, const char *path)
{
	_cleanup_free_ char *joined = NULL;

	if (asprintf(&joined, "%s/%s", *path == '/' ? "" : base, path) < 0) {
		joined = NULL;
		return NULL;
	}
	/* In place: the write position is never ahead of the read position. */
	char *end = joined;
	for (const char *component = joined; *component;) {
		size_t len = strcspn(component, "/");
		if (len == 2 && memcmp(component, "..", 2) == 0) {
			while (end > joined && *--end != '/')
				;
		} else if (len > 0 && !(len == 1 && *component == '.')) {
			*end++ = '/';
			memmove(end, component, len);
			end += len;
		}
		component += len;
		component += *component == '/';
	}
	if (end == joined)
		*end++ = '/';
	*end = '\0';
	return steal_ptr(&joined);
}

char *path_escape(const char *path)
{
	static const char hex[] = "0123456789abcdef";
	char *escaped = malloc(4 * strlen(path) + 2);
	char *out = escaped;

	if (!escaped)
		return NULL;
	path += *path == '/';
	if (!*path)
		*out++ = '-';
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;
		if (c == '/') {
			*out++ = '-';
		} else if (c < 0x80 &&
			   (isalnum(c) || c == ':' || c == '_' || (c == '.' && out != escaped))) {
			*out++ = (char)c;
		} else {
			*out++ = '\\';
			*out++ = 'x';
			*out++ = hex[c >> 4];
			*out++ = hex[c & 15];
		}
	}
	*out = '\0';
	return escaped;
}
