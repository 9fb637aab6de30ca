#include "fetchers/s3/s3_verify.h"

#include <inttypes.h>
#include <string.h>

/* ---- parts ---- */

/* The answer to HEAD for one part. */
struct part {
	uint32_t n_parts; /* of the upload; 0: unknown */
	uint64_t bytes;
};

static int on_part(void *arg, const struct http_response *response, struct err *err)
{
	struct part *part = arg;
	const char *count = http_header(response, "x-amz-mp-parts-count");
	int64_t length = http_length(response);

	(void)err;
	part->n_parts = count ? (uint32_t)strtoul(count, NULL, 10) : 0;
	part->bytes = length > 0 ? (uint64_t)length : 0;
	return 0;
}

/* *ret stays empty if the service does not support the request. */
static enum s3_verify_result ask_part(struct s3_verify *verify, uint32_t number, struct part *ret,
				      struct err *err)
{
	char text[16], if_match[VERSION_SIZE + 16];
	const char *const lines[] = { if_match, NULL };
	const struct uri_pair query = { "partNumber", text };
	struct s3_failure failure = { .status = 0 };
	const struct s3_request request = {
		.method = "HEAD",
		.query = &query,
		.n_query = 1,
		.headers = lines,
		.ret_failure = &failure,
	};
	const struct http_callbacks callbacks = { .on_headers = on_part, .arg = ret };

	snprintf(text, sizeof(text), "%" PRIu32, number);
	snprintf(if_match, sizeof(if_match), "If-Match: %s", verify->etag);
	*ret = (struct part){ .bytes = 0 };
	if (s3_perform(verify->source, verify->ctx, &request, &callbacks, err) == 0)
		return S3_VERIFY_OK;
	if (failure.status == 412)
		return S3_VERIFY_CHANGED;
	if (err->kind != ERR_BAD_DATA &&
	    (failure.status < 400 || failure.status >= 500 || err->kind == ERR_BUSY))
		return S3_VERIFY_FAILED;
	*err = (struct err)ERR_INIT;
	return S3_VERIFY_OK;
}

enum s3_verify_result s3_verify_ask(struct s3_verify *verify, uint64_t size, struct err *err)
{
	struct part part;
	enum s3_verify_result result = ask_part(verify, 1, &part, err);

	verify->is_asking = false;
	verify->part_bytes = 0;
	if (result == S3_VERIFY_OK && part.n_parts == verify->n_parts && part.bytes &&
	    (size - 1) / part.bytes + 1 == verify->n_parts)
		verify->part_bytes = part.bytes;
	return result;
}

/* Do all parts except the last have the length of the first? Asks for each, until one differs. */
static enum s3_verify_result ask_others(struct s3_verify *verify, bool *ret_is_even,
					struct err *err)
{
	struct part part;

	for (uint32_t i = 2; i < verify->n_parts; i++) {
		enum s3_verify_result result = ask_part(verify, i, &part, err);
		if (result != S3_VERIFY_OK)
			return result;
		if (part.bytes != verify->part_bytes) {
			*ret_is_even = false;
			return S3_VERIFY_OK;
		}
	}
	*ret_is_even = true;
	return S3_VERIFY_OK;
}

/* ---- the object ---- */

static int refuse(const struct s3_verify *verify, const char *why, struct err *err)
{
	char shown[S3_SHOWN_SIZE];

	return err_set(err, ERR_BAD_DATA, "GET %s: %s", s3_source_shown(verify->source, shown),
		       why);
}

static int leave_unchecked(const struct s3_verify *verify, const char *why, struct err *err)
{
	return verify->source->options->checksum == S3_CHECKSUM_REQUIRE ? refuse(verify, why, err)
									: 0;
}

static bool find_claim(const struct http_response *response, struct s3_claim *ret)
{
	const char *name;

	for (size_t i = 0; (name = s3_checksum_header(i)); i++) {
		const char *value = http_header(response, name);
		if (value && s3_claim_parse(i, value, ret))
			return true;
	}
	return false;
}

/* The ETag of an object that is encrypted with KMS or a customer's key is not its MD5. */
static bool find_etag_claim(const struct s3_verify *verify, const struct http_response *response,
			    const char *etag, struct s3_claim *ret)
{
	const char *encryption = http_header(response, "x-amz-server-side-encryption");
	struct s3_source *source = verify->source;

	if ((encryption && strncmp(encryption, "aws:kms", 7) == 0) ||
	    http_header(response, S3_SSE_C_ALGORITHM) || source->options->sse_c_key_file)
		return false;
	pthread_mutex_lock(&source->lock);
	bool can_be_md5 = source->etags != S3_ETAGS_OTHER;
	pthread_mutex_unlock(&source->lock);
	return can_be_md5 && s3_claim_of_etag(etag, ret);
}

/* OpenSSL may not have MD5 (FIPS). */
static void start_md5(struct s3_verify *verify, const struct s3_claim *claim)
{
	struct err ignored = ERR_INIT;

	s3_checksum_new(&verify->checksum, claim, 0, &ignored);
}

/* Returns what is known of the ETags of the service now. */
static enum s3_etags learn_etags(const struct s3_verify *verify, enum s3_etags found)
{
	struct s3_source *source = verify->source;

	pthread_mutex_lock(&source->lock);
	if (source->etags == S3_ETAGS_UNKNOWN)
		source->etags = found;
	enum s3_etags known = source->etags;
	pthread_mutex_unlock(&source->lock);
	return known;
}

/* The content does not match its ETag. */
static enum s3_verify_result judge_md5(struct s3_verify *verify, struct err *err)
{
	const uint8_t *found = s3_checksum_found(verify->checksum);
	bool is_again = verify->has_other_md5 &&
			memcmp(verify->other_md5, found, sizeof(verify->other_md5)) == 0;
	char shown[S3_SHOWN_SIZE];

	if (is_again && learn_etags(verify, S3_ETAGS_OTHER) == S3_ETAGS_OTHER) {
		s3_source_warn(verify->source, S3_WARNS_ETAGS);
		return S3_VERIFY_OK;
	}
	memcpy(verify->other_md5, found, sizeof(verify->other_md5));
	verify->has_other_md5 = true;
	err_set(err, ERR_BUSY,
		"GET %s: the content does not match the MD5 in its ETag; it may have been "
		"overwritten meanwhile",
		s3_source_shown(verify->source, shown));
	return S3_VERIFY_WRONG;
}

int s3_verify_start(struct s3_verify *verify, const struct http_response *response,
		    const char *etag, bool may_ask, struct err *err)
{
	struct s3_claim claim = { .n_parts = 0 };

	s3_verify_reset(verify);
	if (verify->source->options->checksum == S3_CHECKSUM_OFF)
		return 0;
	if (!find_claim(response, &claim)) {
		if (find_etag_claim(verify, response, etag, &claim))
			start_md5(verify, &claim);
		return leave_unchecked(verify, "the service sends no checksum (checksum = require)",
				       err);
	}
	if (claim.n_parts > 1 && strcmp(verify->etag, etag) != 0) {
		snprintf(verify->etag, sizeof(verify->etag), "%s", etag);
		verify->n_parts = claim.n_parts;
		verify->part_bytes = 0;
		verify->is_asking = may_ask && *etag;
		if (verify->is_asking)
			return err_set(err, ERR_BUSY, "the size of the parts is needed first");
	}
	if (claim.n_parts > 1 && !verify->part_bytes)
		return leave_unchecked(verify,
				       "its checksum cannot be verified, because the size of its "
				       "parts is unknown (checksum = require)",
				       err);
	return s3_checksum_new(&verify->checksum, &claim, verify->part_bytes, err);
}

int s3_verify_add(struct s3_verify *verify, const void *data, size_t len, struct err *err)
{
	return verify->checksum ? s3_checksum_add(verify->checksum, data, len, err) : 0;
}

enum s3_verify_result s3_verify_end(struct s3_verify *verify, struct err *err)
{
	enum s3_verify_result result = S3_VERIFY_OK;
	bool is_right = true, is_even = true;
	char why[96];

	if (!verify->checksum)
		return S3_VERIFY_OK;
	if (s3_checksum_check(verify->checksum, &is_right, err) < 0)
		return S3_VERIFY_FAILED;
	const struct s3_claim *claim = s3_checksum_claim(verify->checksum);
	if (is_right && s3_claim_is_of_etag(claim))
		learn_etags(verify, S3_ETAGS_MD5);
	if (is_right)
		return S3_VERIFY_OK;
	if (s3_claim_is_of_etag(claim))
		return judge_md5(verify, err);
	if (claim->n_parts > 2)
		result = ask_others(verify, &is_even, err);
	if (result != S3_VERIFY_OK)
		return result;
	if (!is_even)
		return leave_unchecked(verify,
				       "its checksum cannot be verified, because its parts differ "
				       "in length (checksum = require)",
				       err) < 0
			       ? S3_VERIFY_FAILED
			       : S3_VERIFY_OK;
	snprintf(why, sizeof(why), "the content does not match its %s", s3_claim_name(claim));
	refuse(verify, why, err);
	return S3_VERIFY_WRONG;
}

void s3_verify_reset(struct s3_verify *verify)
{
	s3_checksum_free(steal_ptr(&verify->checksum));
}

bool s3_verify_save(const struct s3_verify *verify, char ret[S3_CHECKSUM_TEXT_SIZE])
{
	return verify->checksum && s3_checksum_save(verify->checksum, ret);
}

bool s3_verify_restore(struct s3_verify *verify, const char *text, uint64_t bytes)
{
	s3_verify_reset(verify);
	if (verify->source->options->checksum == S3_CHECKSUM_OFF)
		return true;
	if (*text)
		verify->checksum = s3_checksum_restore(text, bytes);
	return verify->checksum || verify->source->options->checksum == S3_CHECKSUM_AUTO;
}
