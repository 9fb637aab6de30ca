/*
 * aws_lookup: goes through the places of a chain in order, once. Keeps nothing.
 */
#ifndef FETCHERS_AWS_AWS_LOOKUP_H
#define FETCHERS_AWS_AWS_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "fetch/fetcher.h"
#include "fetchers/aws/aws_file.h"
#include "fetchers/aws/aws_keys.h"

/* What a chain is made of; borrowed. NULL: the source does not say. */
struct aws_lookup {
	const char *profile;
	const char *credentials_file;
	const struct aws_paths *paths;
};

/* Where the keys were found: from_files is false if the profile's files could not have made a
 * difference. */
int aws_lookup_keys(const struct aws_lookup *lookup, struct fetch_ctx *ctx, struct aws_keys **ret,
		    bool *ret_from_files, struct err *err);

/* Of the environment, else of the profile; -1: none. */
int aws_lookup_region(const struct aws_lookup *lookup, char *ret, size_t size);

#endif
