#include "fetchers/check.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

int check_path(const char *option, const char *path, struct err *err)
{
	if (path && path[0] != '/')
		return err_set(err, ERR_CONFIG, "%s: \"%s\" is not an absolute path", option, path);
	return 0;
}

int check_line(const char *option, const char *text, struct err *err)
{
	for (; text && *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return err_set(err, ERR_CONFIG, "%s: holds a control character", option);
	}
	return 0;
}

int check_timeouts(int64_t connect_timeout_ms, int64_t stall_timeout_ms, struct err *err)
{
	if (connect_timeout_ms <= 0)
		return err_set(err, ERR_CONFIG, "connect_timeout: must be more than 0");
	if (stall_timeout_ms <= 0)
		return err_set(err, ERR_CONFIG, "stall_timeout: must be more than 0");
	return 0;
}

int check_file_failed(const char *option, struct err *err)
{
	if (err->kind == ERR_NOT_FOUND || err->kind == ERR_BAD_DATA)
		err->kind = ERR_DENIED;
	return err_prefix(err, "%s", option);
}

bool check_is_loopback(const char *host)
{
	size_t len = strcspn(host, ":");
	char name[64];
	struct in_addr v4;

	if (host[0] == '[')
		return strncmp(host, "[::1]", 5) == 0;
	if (len >= sizeof(name))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)len, host);
	return strcmp(name, "localhost") == 0 ||
	       (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}
