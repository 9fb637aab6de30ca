/*
 * aws_lookup: asks the providers of a chain for keys, once and in order. Has no state.
 */
#ifndef FETCHERS_AWS_AWS_LOOKUP_H
#define FETCHERS_AWS_AWS_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "fetch/fetcher.h"
#include "fetchers/aws/aws_files.h"
#include "fetchers/aws/aws_keys.h"

struct helper;
struct aws_profiles;

/* The setup of a chain; borrowed. NULL: not set. */
struct aws_lookup {
	const char *profile;
	const char *credentials_file;
	const struct aws_paths *paths;
};

/* *ret_from_files says whether a change of the profile's files could change the result. Errors as
 * aws_chain_keys(). */
int aws_lookup_keys(const struct aws_lookup *lookup, struct fetch_ctx *ctx, struct aws_keys **ret,
		    bool *ret_from_files, struct err *err);

/* The name of the profile whose settings count. */
const char *aws_lookup_profile(const struct aws_lookup *lookup);

/* The environment's region, else the profile's. Returns -1 if none is set. */
int aws_lookup_region(const struct aws_lookup *lookup, struct helper *helper, char *ret,
		      size_t size);

/* The command line of the credential_process that a search could run, and its profile: that of
 * the setup, or one that is the source of its role. NULL: there is none. Both live as long as
 * lookup and profiles. */
const char *aws_lookup_program(const struct aws_lookup *lookup, const struct aws_profiles *profiles,
			       const char **ret_profile);

#endif
