/*
 * option_check: values that several fetchers accept for their options. For the check of a row: each
 * returns 0, or -1 with ERR_CONFIG.
 */
#ifndef FETCHERS_SHARED_OPTION_CHECK_H
#define FETCHERS_SHARED_OPTION_CHECK_H

#include "base/err.h"

/* An absolute path. */
int check_path(const char *path, struct err *err);

/* A text without control characters. */
int check_line(const char *text, struct err *err);

/* The same, and not empty. */
int check_text(const char *text, struct err *err);

/* A URL of a proxy that curl can use, or "". The message does not show it: it may hold a password.
 */
int check_proxy(const char *proxy, struct err *err);

#endif
