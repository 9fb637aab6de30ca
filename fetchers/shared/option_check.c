#include "fetchers/shared/option_check.h"

#include <stddef.h>

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
			return err_set(err, ERR_CONFIG, "%s: contains a control character", option);
	}
	return 0;
}

int check_timeouts(int64_t connect_timeout_ms, int64_t stall_timeout_ms, struct err *err)
{
	if (connect_timeout_ms <= 0)
		return err_set(err, ERR_CONFIG, "connect_timeout: must be greater than 0");
	if (stall_timeout_ms <= 0)
		return err_set(err, ERR_CONFIG, "stall_timeout: must be greater than 0");
	return 0;
}
