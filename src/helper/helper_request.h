/*
 * helper_request: one request from the worker (helper_protocol.h).
 *
 * Runs in the opener and in the executor.
 */
#ifndef HELPER_HELPER_REQUEST_H
#define HELPER_HELPER_REQUEST_H

#include <stddef.h>
#include <string.h>

#include "helper/helper_protocol.h"

struct helper_request {
	char text[HELPER_REQUEST_MAX + 1]; /* NUL-terminated */
	size_t len;
	int fds[HELPER_FDS_MAX]; /* owned: for the answer, inotify; -1: none */
};

/* The text behind the first NUL at or after `text`; NULL: the request ends there. */
static inline const char *helper_request_next(const struct helper_request *request,
					      const char *text)
{
	const char *end = request->text + request->len;
	const char *nul = memchr(text, '\0', (size_t)(end - text));

	return nul && nul + 1 < end ? nul + 1 : NULL;
}

#endif
