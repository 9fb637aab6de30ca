/*
 * aws_endpoint: what the environment and a profile say about the hosts of one service: another
 * endpoint, the FIPS and dual-stack endpoints of AWS, the CAs to trust. As in the AWS SDKs, the
 * environment comes before the profile, and an endpoint is the first of
 *
 *	AWS_ENDPOINT_URL_S3                the service's variable
 *	AWS_ENDPOINT_URL
 *	[services NAME] s3 = endpoint_url  NAME is the profile's setting "services"
 *	[profile …] endpoint_url
 *
 * none of which counts if AWS_IGNORE_CONFIGURED_ENDPOINT_URLS or the profile's
 * ignore_configured_endpoint_urls is true.
 */
#ifndef FETCHERS_AWS_AWS_ENDPOINT_H
#define FETCHERS_AWS_AWS_ENDPOINT_H

#include <stdbool.h>

#include "base/err.h"

struct aws_profiles;

struct aws_setting {
	const char *value; /* borrowed; NULL: not set */
	bool is_from_file;
	char from[256]; /* for messages: "AWS_CA_BUNDLE", "/root/.aws/config:7: ca_bundle" */
};

struct aws_endpoint {
	struct aws_setting url, fips, dualstack;
	bool is_fips, is_dualstack; /* what these two say; false: also if not set */
};

/* profiles: NULL: only the environment counts. service: "s3", "sts". The values live as long as
 * profiles. ERR_CONFIG names the variable, or the file and line, of a value that is wrong. */
int aws_endpoint_find(const struct aws_profiles *profiles, const char *profile, const char *service,
		      struct aws_endpoint *ret, struct err *err);

/* The CAs to trust, for all services. The value lives as long as profiles. */
void aws_endpoint_find_ca_bundle(const struct aws_profiles *profiles, const char *profile,
				 struct aws_setting *ret);

/* As in the AWS SDKs, FIPS and dual-stack endpoints exclude a configured one. ERR_CONFIG. */
int aws_endpoint_check(const struct aws_endpoint *endpoint, struct err *err);

#endif
