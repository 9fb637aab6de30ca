#include "fetchers/shared/option_check.h"

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
