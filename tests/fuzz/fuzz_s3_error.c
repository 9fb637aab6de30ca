/*
 * The XML of an error of S3 or STS, and the message that people get. The first line has the status
 * of the response and what is known of the request.
 */
#include "base/utf8.h"
#include "fetchers/s3/s3_error.h"
#include "fuzz.h"

/* A text that is too long is cut between two characters. */
static void check_text(const char *text, size_t size)
{
	fuzz_check(strnlen(text, size) < size);
	for (size_t len; *text; text += len) {
		len = utf8_length(text);
		fuzz_check(len);
	}
}

static void check_message(const struct aws_error *error, int status, unsigned flags)
{
	const struct s3_error_about about = {
		.what = "GET s3://bucket/key",
		.region = "us-east-1",
		.bucket_region = flags & 1 ? "eu-west-1" : "",
		.status = status,
		.has_body = flags & 2,
		.is_anonymous = flags & 4,
		.is_deleted = flags & 8,
		.has_version_id = flags & 16,
		.has_sse_key = flags & 32,
		.is_elsewhere = flags & 64,
	};
	struct err err = ERR_INIT;

	fuzz_check(s3_error_set(&err, &about, error) < 0 && err.kind != ERR_NONE);
	fuzz_check_error(&err, err.kind);
	fuzz_check(strncmp(err.msg, about.what, strlen(about.what)) == 0);
	fuzz_check(*error->code || s3_error_repair(error) == S3_REPAIR_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct aws_error error;
	unsigned status = fuzz_below(&input, 1000), flags = fuzz_below(&input, 128);

	aws_error_read((const char *)input.next, input.left, &error);
	check_text(error.code, sizeof(error.code));
	check_text(error.message, sizeof(error.message));
	check_text(error.region, sizeof(error.region));
	check_text(error.endpoint, sizeof(error.endpoint));
	if (*error.code || *error.message || *error.region || *error.endpoint)
		fuzz_check(error.is_found);
	check_message(&error, (int)status, flags);
	return 0;
}
