/*
 * aws_place: the places that keys can come from. Each is asked once, without a retry, and keeps
 * nothing.
 */
#ifndef FETCHERS_AWS_AWS_PLACE_H
#define FETCHERS_AWS_AWS_PLACE_H

#include <stdbool.h>

#include "base/err.h"
#include "fetch/fetcher.h"
#include "fetchers/aws/aws_keys.h"

enum aws_found {
	AWS_FOUND,
	AWS_ABSENT, /* there is no such place here; *err says why, for the end of the chain */
	AWS_FAILED,
};

/* ---- aws_metadata.c ---- */

/* The container endpoint; AWS_ABSENT if the environment names none. */
enum aws_found aws_container_keys(struct fetch_ctx *ctx, struct aws_keys **ret, struct err *err);

/* Overrides of the profile; NULL: none. */
struct aws_instance_setup {
	const char *endpoint, *endpoint_mode;
};

/* The metadata service, version 2 only: the token comes first, and without one nothing is asked.
 * AWS_ABSENT if it is switched off, does not answer, or knows no role. */
enum aws_found aws_instance_keys(struct fetch_ctx *ctx, const struct aws_instance_setup *setup,
				 struct aws_keys **ret, struct err *err);

/* ---- aws_sts.c ---- */

/* Borrowed; what is NULL is left out. */
struct aws_role {
	const char *arn;
	const char *session_name;
	const char *external_id;
	const char *duration_seconds;
	const char *token_file; /* of a web identity */
	const char *region;	/* of the STS endpoint; NULL: what the ARN's partition has */
};

/* AssumeRole, signed with base, or AssumeRoleWithWebIdentity if base is NULL. */
int aws_role_keys(struct fetch_ctx *ctx, const struct aws_role *role, const struct aws_keys *base,
		  struct aws_keys **ret, struct err *err);

#endif
