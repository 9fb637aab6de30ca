/*
 * s3: an object of S3, or of a compatible service.
 *
 * The version token is the ETag, exactly as sent with the response that carried the bytes. The
 * modules, from the bottom:
 *
 *	s3_bucket      valid names of buckets, keys and hosts
 *	s3_address     host and path
 *	s3_source      the options, and what was learned about the service
 *	s3_url         URLs as options
 *	s3_environment options from the environment and the files of the AWS tools
 *	s3_error       error responses
 *	s3_sse_key     the customer's key of an encrypted object
 *	s3_request     one signed request, with corrections
 *	s3_range       one range, with retries
 *	s3_parallel    several ranges at once
 *	s3_checksum    checksums
 *	s3_verify      comparing the object with its checksum
 *	s3_dated       versions of a service that sends no ETag
 *	s3_object      the download
 */
#include "base/helper.h"
#include "fetchers/aws/aws_credentials.h"
#include "fetchers/registry.h"
#include "fetchers/s3/s3_object.h"
#include "fetchers/s3/s3_source.h"

static const char *const url_schemes[] = { "s3", NULL };

static const struct helper_program programs[] = {
	{
		.name = "credential_process",
		.is_configured = aws_has_credential_process,
		.find = aws_credential_process,
	},
	{ .name = NULL },
};

static const struct helper_uses helper = {
	.programs = programs,
	.names_file = aws_names_file,
};

const struct fetcher_ops fetcher_s3 = {
	.type = {
		.name = "s3",
		.help = "an object of S3, or of a compatible service",
		.options = &s3_source_options,
		.helper = &helper,
		.complete = s3_environment_complete,
		.check = s3_source_check,
		.init = s3_source_init,
		.free = s3_source_free,
		.describe = s3_source_describe,
		.url_schemes = url_schemes,
		.from_url = s3_source_from_url,
	},
	.download = s3_object_download,
	.download_if_changed = s3_object_download_if_changed,
	.origin = s3_source_origin,
};
