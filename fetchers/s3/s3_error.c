#include "fetchers/s3/s3_error.h"

#include <string.h>

#include "base/util.h"

/* ---- what codes mean ---- */

static const struct meaning {
	const char *code;
	enum err_kind kind;
	enum s3_repair repair;
	const char *advice; /* NULL: see advise() */
} meanings[] = {
	{ "NoSuchKey", ERR_NOT_FOUND, S3_REPAIR_NONE, NULL },
	{ "NoSuchVersion", ERR_NOT_FOUND, S3_REPAIR_NONE,
	  "check version_id, and whether a lifecycle rule has removed that version" },
	{ "NoSuchBucket", ERR_NOT_FOUND, S3_REPAIR_NONE, "check bucket, region and endpoint" },
	{ "InvalidBucketName", ERR_DENIED, S3_REPAIR_NONE, "check bucket" },
	{ "AccessDenied", ERR_DENIED, S3_REPAIR_NONE, NULL },
	{ "AllAccessDisabled", ERR_DENIED, S3_REPAIR_NONE,
	  "the bucket's owner or the service has disabled access" },
	{ "AccountProblem", ERR_DENIED, S3_REPAIR_NONE,
	  "ask the service's support about the account" },
	{ "UserSuspended", ERR_DENIED, S3_REPAIR_NONE, "the user is suspended at the service" },
	{ "ExpiredToken", ERR_DENIED, S3_REPAIR_KEYS,
	  "renew the session token where the credentials come from" },
	{ "ExpiredTokenException", ERR_DENIED, S3_REPAIR_KEYS,
	  "renew the session token where the credentials come from" },
	{ "TokenRefreshRequired", ERR_DENIED, S3_REPAIR_KEYS,
	  "renew the session token where the credentials come from" },
	{ "InvalidToken", ERR_DENIED, S3_REPAIR_KEYS,
	  "the session token does not belong to the access key, or to this service" },
	{ "InvalidAccessKeyId", ERR_DENIED, S3_REPAIR_KEYS,
	  "the service does not know the access key: check the credentials and endpoint" },
	{ "SignatureDoesNotMatch", ERR_DENIED, S3_REPAIR_KEYS,
	  "check the secret key, and that no proxy changes the request" },
	{ "RequestTimeTooSkewed", ERR_DENIED, S3_REPAIR_CLOCK,
	  "set this machine's clock (timedatectl set-ntp true)" },
	{ "InvalidObjectState", ERR_DENIED, S3_REPAIR_NONE,
	  "it is archived (Glacier): restore it with \"aws s3api restore-object\", or choose "
	  "another storage class" },
	{ "SlowDown", ERR_BUSY, S3_REPAIR_NONE,
	  "a longer refresh_interval asks the service less often" },
	{ "RequestLimitExceeded", ERR_BUSY, S3_REPAIR_NONE,
	  "a longer refresh_interval asks the service less often" },
	{ "RequestTimeout", ERR_BUSY, S3_REPAIR_NONE, "it is tried again" },
	{ "InvalidRequest", ERR_DENIED, S3_REPAIR_NONE, NULL },
	{ "NotImplemented", ERR_DENIED, S3_REPAIR_NONE,
	  "the service cannot do this: check endpoint" },
};

static const struct meaning *find_meaning(const char *code)
{
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		if (strcmp(meanings[i].code, code) == 0)
			return &meanings[i];
	}
	return NULL;
}

enum s3_repair s3_error_repair(const struct aws_error *error)
{
	const struct meaning *meaning = find_meaning(error->code);

	return meaning ? meaning->repair : S3_REPAIR_NONE;
}

/* The error page of a proxy, or of a server that is not S3, says nothing about the object. */
static bool is_foreign(const struct s3_error_about *about, const struct aws_error *error)
{
	return about->has_body && !error->is_found;
}

static enum err_kind kind_of(const struct s3_error_about *about, const struct aws_error *error)
{
	const struct meaning *meaning = find_meaning(error->code);
	int status = about->status;

	if (meaning)
		return meaning->kind;
	if (status == 404 || status == 410 || (status == 405 && about->is_deleted))
		return is_foreign(about, error) ? ERR_UNREACHABLE : ERR_NOT_FOUND;
	/* 412 and 416: the object has changed. */
	if (status >= 500 || status == 408 || status == 412 || status == 416 || status == 425 ||
	    status == 429)
		return ERR_BUSY;
	return status < 300 ? ERR_BAD_DATA : ERR_DENIED;
}

static const char *advise_denied(const struct s3_error_about *about)
{
	if (about->is_anonymous)
		return "anonymous readers need a bucket policy that allows s3:GetObject to "
		       "everybody; or set anonymous = false";
	if (about->has_sse_key)
		return "allow s3:GetObject on it, and check that sse_c_key_file holds its key";
	if (about->has_version_id)
		return "allow s3:GetObjectVersion on it, and kms:Decrypt if a KMS key encrypts it";
	if (about->is_elsewhere)
		return "check the keys, and that they allow s3:GetObject on it; without "
		       "s3:ListBucket a key that does not exist is denied too";
	return "allow s3:GetObject on it, and kms:Decrypt if a KMS key encrypts it; without "
	       "s3:ListBucket a key that does not exist is denied too; where the requester pays, "
	       "requester_pays is needed";
}

/* The usual reason is the encryption. */
static const char *advise_request(const struct s3_error_about *about)
{
	return about->has_sse_key ? "if the object is not encrypted with a key of yours, leave out "
				    "sse_c_key_file"
				  : "if the object is encrypted with a key of yours, set "
				    "sse_c_key_file";
}

static const char *advise_status(const struct s3_error_about *about)
{
	switch (about->status) {
	case 301:
	case 302:
	case 307:
	case 308:
		return "set region and endpoint to where the bucket is";
	case 400:
		return "check region, endpoint and version_id";
	case 401:
	case 407:
		return "check where the credentials come from";
	case 403:
		return advise_denied(about);
	case 404:
	case 405:
	case 410:
		return about->is_deleted ? "it was deleted: its version is a delete marker"
					 : "check bucket and key";
	case 412:
	case 416:
		return "it has changed in the meantime";
	}
	return about->status >= 500 || about->status == 429 ? "it is tried again"
							    : "is endpoint an S3 service?";
}

static const char *advise(const struct s3_error_about *about, const struct aws_error *error)
{
	const struct meaning *meaning = find_meaning(error->code);

	if (about->is_deleted)
		return "it was deleted: its version is a delete marker";
	if (meaning && meaning->advice)
		return meaning->advice;
	if (strcmp(error->code, "NoSuchKey") == 0)
		return about->has_version_id ? "check key and version_id" : "check key";
	if (strcmp(error->code, "InvalidRequest") == 0)
		return advise_request(about);
	if (strncmp(error->code, "KMS.", 4) == 0)
		return "check the KMS key: enabled, in the bucket's region, kms:Decrypt allowed";
	if (is_foreign(about, error) && kind_of(about, error) != ERR_BUSY)
		return "the answer is not from S3: check endpoint and proxy";
	return advise_status(about);
}

int s3_error_set(struct err *err, const struct s3_error_about *about, const struct aws_error *error)
{
	bool is_elsewhere = *about->bucket_region &&
			    strcmp(about->bucket_region, about->region) != 0;
	char region[128];

	snprintf(region, sizeof(region),
		 "it was signed for %s, but the bucket is in %s: set region", about->region,
		 about->bucket_region);
	return err_set(err, kind_of(about, error), "%s: %d%s%s%s%s%s: %s", about->what,
		       about->status, *error->code ? " " : "", error->code,
		       *error->message ? " (" : "", error->message, *error->message ? ")" : "",
		       is_elsewhere ? region : advise(about, error));
}
