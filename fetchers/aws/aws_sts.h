/*
 * aws_sts: the security token service. It returns the keys of a role for keys that may assume the
 * role, or for the token of an identity provider. One request, without a retry. Has no state.
 */
#ifndef FETCHERS_AWS_AWS_STS_H
#define FETCHERS_AWS_AWS_STS_H

#include "base/err.h"
#include "fetch/fetcher.h"
#include "fetchers/aws/aws_endpoint.h"
#include "fetchers/aws/aws_keys.h"

/* Borrowed; what is NULL is left out of the request. */
struct aws_role {
	const char *arn;
	const char *session_name;
	const char *external_id;
	const char *duration_seconds;
	const char *token_file; /* the web identity's */
	const char *region;	/* of the endpoint; NULL: one of the ARN's partition */
	const char *ca_file;	/* NULL: the CAs of the system */
	const struct aws_endpoint *endpoint;
};

/* AssumeRole, signed with base; AssumeRoleWithWebIdentity if base is NULL. */
int aws_role_keys(struct fetch_ctx *ctx, const struct aws_role *role, const struct aws_keys *base,
		  struct aws_keys **ret, struct err *err);

#endif
