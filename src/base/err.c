#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void err_set_(struct err *err, enum err_kind kind, const char *fmt, ...)
{
	va_list args;

	err->kind = kind;
	va_start(args, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, args);
	va_end(args);
	utf8_make_printable(err->msg);
}

void err_errno_(struct err *err, const char *fmt, ...)
{
	int number = errno;
	char reason[128];
	va_list args;

	err->kind = ERR_INTERNAL;
	va_start(args, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, args);
	va_end(args);
	size_t used = strlen(err->msg);
	snprintf(err->msg + used, sizeof(err->msg) - used, ": %s",
		 strerror_r(number, reason, sizeof(reason)));
	utf8_make_printable(err->msg);
	errno = number;
}

void err_prefix_(struct err *err, const char *fmt, ...)
{
	char old[ERR_MSG_SIZE];
	va_list args;

	memcpy(old, err->msg, sizeof(old));
	va_start(args, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, args);
	va_end(args);
	size_t used = strlen(err->msg);
	snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", old);
	utf8_make_printable(err->msg);
}

const char *err_kind_name(enum err_kind kind)
{
	switch (kind) {
	case ERR_NONE:
		return "none";
	case ERR_CONFIG:
		return "config";
	case ERR_UNREACHABLE:
		return "unreachable";
	case ERR_BUSY:
		return "busy";
	case ERR_DENIED:
		return "denied";
	case ERR_NOT_FOUND:
		return "not_found";
	case ERR_BAD_DATA:
		return "bad_data";
	case ERR_INTERNAL:
		return "internal";
	case ERR_CANCELED:
		return "canceled";
	}
	return "unknown";
}
