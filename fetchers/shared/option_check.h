/*
 * option_check: checks of options that several fetchers have. Each returns 0, or -1 with ERR_CONFIG
 * and the option's name in the message. NULL means that the option is not set, which is valid.
 */
#ifndef FETCHERS_SHARED_OPTION_CHECK_H
#define FETCHERS_SHARED_OPTION_CHECK_H

#include <stdint.h>

#include "base/err.h"

/* An absolute path. */
int check_path(const char *option, const char *path, struct err *err);

/* A text without control characters. */
int check_line(const char *option, const char *text, struct err *err);

/* connect_timeout and stall_timeout: greater than 0. */
int check_timeouts(int64_t connect_timeout_ms, int64_t stall_timeout_ms, struct err *err);

#endif
