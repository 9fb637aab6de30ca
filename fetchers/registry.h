/*
 * registry: the list of fetchers. To add one, write its file and add one line to registry.c.
 */
#ifndef FETCHERS_REGISTRY_H
#define FETCHERS_REGISTRY_H

#include "fetch/fetcher.h"

/* NULL-terminated; for config_load(). */
extern const struct source_type *const fetcher_types[];

extern const struct fetcher_ops fetcher_file;
extern const struct fetcher_ops fetcher_http;
extern const struct fetcher_ops fetcher_s3;
extern const struct fetcher_ops fetcher_static;

#endif
