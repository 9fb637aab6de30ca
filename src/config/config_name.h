/*
 * config_name: names of terms, and paths as text. Pure: nothing looks at the disk.
 */
#ifndef CONFIG_CONFIG_NAME_H
#define CONFIG_CONFIG_NAME_H

#include "base/err.h"

#define NAME_COMPONENT_MAX 255	/* bytes, as NAME_MAX */
#define NAME_MAX_BYTES	   1024 /* bytes, a whole name */

/* Returns 0 if it is valid as the name of a term, else ERR_CONFIG. */
int name_check(const char *name, struct err *err);

/* For the check of the option alias: 1 to 255 bytes of UTF-8 without control characters.
 * ERR_CONFIG. */
int name_check_alias(const char *alias, struct err *err);

/* The path without ".", "..", "//" and a "/" at its end; below `base` (absolute) if it is not
 * absolute. The caller frees it; NULL: out of memory. */
char *path_absolute(const char *base, const char *path);

/* An absolute, normal path as one file name, as `systemd-escape --path` writes it. The caller
 * frees it; NULL: out of memory. */
char *path_escape(const char *path);

#endif
