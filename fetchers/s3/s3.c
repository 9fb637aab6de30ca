/*
 * s3: an object of S3, or of a service that speaks like it.
 *
 * The version token is the ETag as it was sent, of the very response that carried the bytes. From
 * the bottom: s3_name (what things may be called), s3_source (options, and what was learned),
 * s3_address (host and path), aws_credentials and sigv4 (keys and signature), s3_request (one
 * request, mended where it can be), s3_error (what a "no" means), s3_object (the bytes).
 */
#include "fetchers/aws/aws_credentials.h"
#include "fetchers/registry.h"
#include "fetchers/s3/s3_object.h"
#include "fetchers/s3/s3_source.h"

static const char *const url_schemes[] = { "s3", NULL };

static const struct fetcher_helper helper = {
	.program = aws_credential_process,
	.names_file = aws_names_file,
};

const struct fetcher_ops fetcher_s3 = {
	.type = {
		.name = "s3",
		.help = "an object of S3, or of a service that speaks like it",
		.options = s3_source_options,
		.init = s3_source_init,
		.free = s3_source_free,
		.describe = s3_source_describe,
		.url_schemes = url_schemes,
		.from_url = s3_source_from_url,
	},
	.helper = &helper,
	.download = s3_object_download,
	.download_if_changed = s3_object_download_if_changed,
	.origin = s3_source_origin,
};
