/*
 * check: what fetchers ask of the same options. Each returns 0, or -1 with ERR_CONFIG naming the
 * option; a text that is NULL was not given and is good.
 */
#ifndef FETCHERS_CHECK_H
#define FETCHERS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

int check_path(const char *option, const char *path, struct err *err);

/* No control character. */
int check_line(const char *option, const char *text, struct err *err);

/* connect_timeout and stall_timeout. */
int check_timeouts(int64_t connect_timeout_ms, int64_t stall_timeout_ms, struct err *err);

/* After base/files.h failed, for a file without which nothing can be asked: names the option; and
 * what does not pass by itself is ERR_DENIED. */
int check_file_failed(const char *option, struct err *err);

/* Is "host" or "host:port" (an IPv6 address in brackets) this machine by its very text? */
bool check_is_loopback(const char *host);

#endif
