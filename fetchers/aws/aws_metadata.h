/*
 * aws_metadata: the services of a container or a machine that hand out the keys of its role, over
 * plain HTTP on an address of the machine itself. Each is asked once, without a retry. Has no
 * state.
 */
#ifndef FETCHERS_AWS_AWS_METADATA_H
#define FETCHERS_AWS_AWS_METADATA_H

#include "base/err.h"
#include "fetch/fetcher.h"
#include "fetchers/aws/aws_keys.h"

enum aws_found {
	AWS_FOUND,
	AWS_ABSENT, /* there is no such provider here; *err says why, for the end of the search */
	AWS_FAILED,
};

/* The container endpoint. AWS_ABSENT if the environment names none. */
enum aws_found aws_container_keys(struct fetch_ctx *ctx, struct aws_keys **ret, struct err *err);

/* Settings of the profile; NULL: not set. */
struct aws_instance_setup {
	const char *endpoint, *endpoint_mode;
};

/* The metadata service, version 2 only: a session token is fetched first and sent with every
 * request. AWS_ABSENT if the service is switched off, does not answer, or knows no role. */
enum aws_found aws_instance_keys(struct fetch_ctx *ctx, const struct aws_instance_setup *setup,
				 struct aws_keys **ret, struct err *err);

#endif
