#include "fetchers/shared/option_check.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "http/http.h"

int check_path(const char *path, struct err *err)
{
	if (path[0] != '/')
		return err_set(err, ERR_CONFIG, "\"%s\" is not an absolute path", path);
	return 0;
}

int check_line(const char *text, struct err *err)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return err_set(err, ERR_CONFIG, "contains a control character");
	}
	return 0;
}

int check_text(const char *text, struct err *err)
{
	if (!*text)
		return err_set(err, ERR_CONFIG, "must not be empty");
	return check_line(text, err);
}

int check_proxy(const char *proxy, struct err *err)
{
	static const char *const schemes[] = { "http",	  "https",  "socks4",
					       "socks4a", "socks5", "socks5h" };
	const char *scheme_end = strstr(proxy, "://");
	size_t len = scheme_end ? (size_t)(scheme_end - proxy) : 0;
	bool is_known = !scheme_end; /* curl takes it for http */

	for (size_t i = 0; i < ARRAY_SIZE(schemes) && !is_known; i++)
		is_known = strlen(schemes[i]) == len && strncasecmp(proxy, schemes[i], len) == 0;
	if (!is_known)
		return err_set(err, ERR_CONFIG,
			       "its URL begins with none of http://, https://, socks4://, "
			       "socks4a://, socks5://, socks5h://");
	if (check_line(proxy, err) < 0)
		return -1;
	return *proxy ? http_url_check_proxy(proxy, err) : 0; /* "": none */
}
