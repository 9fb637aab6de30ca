/* aws_error and s3_error: the XML document, its meaning, the message. */
#include "fetchers/s3/s3_error.h"

#include <stdlib.h>

#include "base/util.h"
#include "tap.h"

static struct aws_error read_text(const char *body)
{
	struct aws_error error;

	aws_error_read(body, strlen(body), &error);
	return error;
}

static void test_aws(void)
{
	struct aws_error error = read_text(
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<Error><Code>PermanentRedirect</Code><Message>The bucket &quot;a&amp;b&#x22; must "
		"be <![CDATA[<addressed>]]></Message><Endpoint>b.s3-eu-west-1.amazonaws.com"
		"</Endpoint><Bucket>b</Bucket><RequestId>1</RequestId></Error>");

	is_str(error.code, "PermanentRedirect", "the code is read");
	is_str(error.message, "The bucket \"a&b\" must be <addressed>",
	       "the message is read, with entities");
	is_str(error.endpoint, "b.s3-eu-west-1.amazonaws.com", "the endpoint is read");
	is_str(error.region, "", "a missing region is empty");
	ok(error.is_found, "the document is an error of S3");
}

static void test_forms(void)
{
	struct aws_error error = read_text("<Error xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
					   "<Region>eu</Region><Nested><Code>no</Code></Nested>"
					   "<Code>A</Code><Code>B</Code></Error>trailing");

	is_str(error.code, "A", "the first direct child counts");
	is_str(error.region, "eu", "the region is read");
	error = read_text("<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code></Error>"
			  "<Error><Code>X</Code></Error></ErrorResponse>");
	is_str(error.code, "Throttling", "an <Error> inside another element is read");
	error = read_text("<Error><Code>SlowDown</Code><Mess");
	ok(error.is_found && strcmp(error.code, "SlowDown") == 0,
	   "a cut document is read as far as it goes");
	error = read_text("<html><body><h1>404</h1></body></html>");
	ok(!error.is_found && !*error.code, "an HTML page is not an error document");
	error = read_text("not XML");
	ok(!error.is_found, "text is not an error document");
	error = read_text("");
	ok(!error.is_found, "an empty body is not an error document");
	error = read_text("<!DOCTYPE Error [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>"
			  "<Error><Code>&b;</Code></Error>");
	ok(!error.is_found, "entity declarations end the parsing");
}

static void test_long(void)
{
	char body[1200] = "<Error><Code>";
	struct aws_error error;

	memset(body + strlen(body), 'c', 300);
	strcat(body, "</Code><Message>");
	for (int i = 0; i < 200; i++)
		strcat(body, "ü");
	strcat(body, "</Message></Error>");
	error = read_text(body);
	is_int(strlen(error.code), sizeof(error.code) - 1, "a long code is cut");
	is_int(strlen(error.message), sizeof(error.message) - 2,
	       "a long message is cut between characters");

	_cleanup_free_ char *deep = calloc(1, 2 * AWS_ERROR_BODY_MAX);
	for (int i = 0; i < AWS_ERROR_BODY_MAX / 2; i++)
		strcpy(deep + 3 * i, "<a>");
	error = read_text(deep);
	ok(!error.is_found, "deep nesting is read up to the limit");
}

/* Damaged documents must not break the parser. */
static void test_random(void)
{
	static const char good[] = "<Error><Code>NoSuchKey</Code><Message>m&amp;</Message></Error>";
	struct aws_error error;
	char body[sizeof(good)];
	unsigned seed = 3;
	size_t longest = 0;

	for (int i = 0; i < 20000; i++) {
		memcpy(body, good, sizeof(good));
		for (int n = rand_r(&seed) % 4; n >= 0; n--)
			body[(size_t)rand_r(&seed) % sizeof(good)] = (char)rand_r(&seed);
		aws_error_read(body, (size_t)rand_r(&seed) % sizeof(good), &error);
		if (strnlen(error.code, sizeof(error.code)) > longest)
			longest = strlen(error.code);
	}
	ok(longest < AWS_ERROR_CODE_SIZE, "20,000 damaged documents do no harm");
}

/* ---- messages ---- */

static const struct s3_error_about get = {
	.what = "GET s3://b/k",
	.region = "eu-west-1",
	.bucket_region = "",
	.has_body = true,
};

static struct err say(int status, const char *code, struct s3_error_about about)
{
	struct aws_error error = { .is_found = *code };
	struct err err = ERR_INIT;

	about.status = status;
	snprintf(error.code, sizeof(error.code), "%s", code);
	ok(s3_error_set(&err, &about, &error) < 0, "%d %s", status, code);
	return err;
}

static void test_kinds(void)
{
	static const struct {
		int status;
		const char *code;
		enum err_kind kind;
		const char *advice; /* part of the message */
	} rows[] = {
		{ 403, "AccessDenied", ERR_DENIED, "allow s3:GetObject" },
		{ 404, "NoSuchKey", ERR_NOT_FOUND, "check key" },
		{ 404, "NoSuchVersion", ERR_NOT_FOUND, "check version_id" },
		{ 404, "NoSuchBucket", ERR_NOT_FOUND, "check bucket" },
		{ 503, "SlowDown", ERR_BUSY, "refresh_interval" },
		{ 400, "RequestTimeout", ERR_BUSY, "tried again" },
		{ 500, "InternalError", ERR_BUSY, "tried again" },
		{ 503, "", ERR_BUSY, "tried again" },
		{ 429, "", ERR_BUSY, "tried again" },
		{ 400, "ExpiredToken", ERR_DENIED, "renew the session token" },
		{ 400, "InvalidToken", ERR_DENIED, "session token" },
		{ 403, "InvalidAccessKeyId", ERR_DENIED, "access key" },
		{ 403, "SignatureDoesNotMatch", ERR_DENIED, "secret key" },
		{ 403, "RequestTimeTooSkewed", ERR_DENIED, "clock" },
		{ 301, "PermanentRedirect", ERR_DENIED, "set region and endpoint" },
		{ 307, "TemporaryRedirect", ERR_DENIED, "set region and endpoint" },
		{ 400, "AuthorizationHeaderMalformed", ERR_DENIED, "check region" },
		{ 403, "InvalidObjectState", ERR_DENIED, "restore-object" },
		{ 400, "InvalidRequest", ERR_DENIED, "sse_c_key_file" },
		{ 400, "KMS.DisabledException", ERR_DENIED, "KMS key" },
		{ 501, "NotImplemented", ERR_DENIED, "endpoint" },
		{ 412, "PreconditionFailed", ERR_BUSY, "changed" },
		{ 416, "InvalidRange", ERR_BUSY, "changed" },
		{ 401, "", ERR_DENIED, "the answer is not from S3" },
		{ 404, "", ERR_UNREACHABLE, "the answer is not from S3: check endpoint" },
		{ 403, "", ERR_DENIED, "the answer is not from S3" },
		{ 204, "", ERR_BAD_DATA, "the answer is not from S3" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err err = say(rows[i].status, rows[i].code, get);
		is_int(err.kind, rows[i].kind, "%d %s has the right kind", rows[i].status,
		       rows[i].code);
		ok(strstr(err.msg, rows[i].advice), "%s", err.msg);
	}
}

static void test_about(void)
{
	struct s3_error_about about = get;
	struct err err;

	about.has_body = false;
	err = say(404, "", about);
	is_int(err.kind, ERR_NOT_FOUND, "a HEAD has no body");
	is_str(err.msg, "GET s3://b/k: 404: check bucket and key",
	       "an error without a body has no code");
	err = say(403, "", about);
	ok(strstr(err.msg, "s3:ListBucket"), "%s", err.msg);
	about.is_deleted = true;
	err = say(405, "MethodNotAllowed", about);
	is_int(err.kind, ERR_NOT_FOUND, "a delete marker means not found");
	ok(strstr(err.msg, "delete marker"), "%s", err.msg);

	about = get;
	about.is_anonymous = true;
	ok(strstr(say(403, "AccessDenied", about).msg, "anonymous"),
	   "an anonymous source gets its own advice");
	about = get;
	about.has_version_id = true;
	ok(strstr(say(403, "AccessDenied", about).msg, "GetObjectVersion"),
	   "a source with version_id gets its own advice");
	ok(strstr(say(404, "NoSuchKey", about).msg, "check key and version_id"),
	   "a missing key with version_id gets its own advice");
	about = get;
	about.has_sse_key = true;
	ok(strstr(say(403, "AccessDenied", about).msg, "sse_c_key_file holds"),
	   "a denied SSE-C key gets its own advice");
	ok(strstr(say(400, "InvalidRequest", about).msg, "leave out"),
	   "a refused SSE-C key gets its own advice");
	about = get;
	about.is_elsewhere = true;
	ok(strstr(say(403, "AccessDenied", about).msg, "check the keys"),
	   "another service gets its own advice");
	about = get;
	about.bucket_region = "us-west-2";
	err = say(301, "PermanentRedirect", about);
	is_str(err.msg,
	       "GET s3://b/k: 301 PermanentRedirect: it was signed for eu-west-1, but the bucket "
	       "is in us-west-2: set region",
	       "another region is named");
}

static void test_repair(void)
{
	struct aws_error error = { .code = "RequestTimeTooSkewed" };

	is_int(s3_error_repair(&error), S3_REPAIR_CLOCK, "the clock can be corrected");
	strcpy(error.code, "ExpiredToken");
	is_int(s3_error_repair(&error), S3_REPAIR_KEYS, "the keys can be corrected");
	strcpy(error.code, "AccessDenied");
	is_int(s3_error_repair(&error), S3_REPAIR_NONE, "other errors cannot be corrected");
	error.code[0] = '\0';
	is_int(s3_error_repair(&error), S3_REPAIR_NONE,
	       "an error without a code cannot be corrected");
}

int main(void)
{
	test_aws();
	test_forms();
	test_long();
	test_random();
	test_kinds();
	test_about();
	test_repair();
	return tap_done();
}
