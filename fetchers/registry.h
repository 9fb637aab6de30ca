/*
 * registry: the list of fetchers. A new one is one file and one line in registry.c.
 */
#ifndef FETCHERS_REGISTRY_H
#define FETCHERS_REGISTRY_H

#include "fetch/fetcher.h"

/* NULL-terminated: what config_load() is given. */
extern const struct source_type *const fetcher_types[];

extern const struct fetcher_ops fetcher_file;
extern const struct fetcher_ops fetcher_http;
extern const struct fetcher_ops fetcher_s3;
extern const struct fetcher_ops fetcher_static;

#endif
