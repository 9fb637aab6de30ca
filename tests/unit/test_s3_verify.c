/* s3_verify, through s3_object: whole and composite checksums, right and wrong, interrupted. */
#include <openssl/evp.h>
#include <zlib.h>

#include "base/digest.h"
#include "fake_s3.h"

#define CRC32 "x-amz-checksum-crc32"

static void encode(const uint8_t *bytes, size_t n, char *ret)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t word = (uint32_t)bytes[i] << 16 |
				(uint32_t)(i + 1 < n ? bytes[i + 1] : 0) << 8 |
				(i + 2 < n ? bytes[i + 2] : 0);
		*ret++ = digits[word >> 18];
		*ret++ = digits[word >> 12 & 63];
		*ret++ = i + 1 < n ? digits[word >> 6 & 63] : '=';
		*ret++ = i + 2 < n ? digits[word & 63] : '=';
	}
	*ret = '\0';
}

static void put_crc(const uint8_t *bytes, size_t n, uint8_t ret[4])
{
	uint32_t crc = (uint32_t)crc32_z(0, bytes, n);

	for (int i = 0; i < 4; i++)
		ret[i] = (uint8_t)(crc >> (24 - 8 * i));
}

static const char *crc_of(const struct object *object, char ret[16])
{
	uint8_t crc[4];

	put_crc(object->bytes, object->size, crc);
	encode(crc, 4, ret);
	return ret;
}

static const char *composite_of(const struct object *object, char ret[24])
{
	uint8_t crcs[4 * 64], crc[4];
	const uint8_t *at = object->bytes;
	unsigned n = 0;

	for (; object->part_bytes[n]; at += object->part_bytes[n++])
		put_crc(at, object->part_bytes[n], crcs + (size_t)4 * n);
	put_crc(crcs, (size_t)4 * n, crc);
	encode(crc, 4, ret);
	sprintf(ret + 8, "-%u", n);
	return ret;
}

static void test_resume_checked(void)
{
	char crc[16];

	large.checksum_name = CRC32;
	large.checksum = crc_of(&large, crc);
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	fake.faults[0] = (struct fault){ FAULT_CUT, true, (uint64_t)7 * PART, 0, 4 };
	fetch(NULL);
	ok(has_failed(ERR_UNREACHABLE) && strchr(sink.validator, '\n'),
	   "an interrupted download keeps the state of its checksum");
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 0, "the resumed download is checked as a whole");
	reset(&large);
	begin(&large, 20000, "\"large\"\ncrc32 AAAAAA== 0 0 20000 12345678 0");
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 1, "an invalid state starts over");
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	begin(&large, 20000, large.etag);
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 1,
	   "a missing state starts over if a checksum is required");
	large.checksum = NULL;
}

static void test_checksum(void)
{
	uint8_t sha256[DIGEST_SIZE];
	char crc[16], sha[64];

	large.checksum_name = CRC32;
	large.checksum = crc_of(&large, crc);
	reset(&large);
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 0, "the right CRC is accepted with ranges");
	digest_of(large.bytes, large.size, sha256, &err);
	encode(sha256, sizeof(sha256), sha);
	large.checksum_name = "x-amz-checksum-sha256";
	large.checksum = sha;
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 0, "the right SHA-256 is accepted if required");
	fake.faults[0] = (struct fault){ FAULT_FLIP, true, (uint64_t)9 * PART, 0, 1 };
	sink.size = 0;
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 1, "a flipped bit causes another download");

	large.checksum_name = CRC32;
	large.checksum = "AAAAAA==";
	reset(&large);
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA) && strcmp(fetched.version.token, large.etag) == 0,
	   "a wrong checksum is refused with its token");
	is_int(fake_count(!s->is_range), 2, "it is refused after two downloads");
	reset(&large);
	options.checksum = S3_CHECKSUM_OFF;
	fetch(NULL);
	ok(holds(&large), "a wrong checksum is accepted if checks are off");

	large.checksum = "no checksum";
	reset(&large);
	fetch(NULL);
	ok(holds(&large), "an invalid checksum is ignored");
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA) && fake.n_seen == 1 && sink.size == 0,
	   "an object without the required checksum is refused before its body");
	large.checksum = NULL;
}

static void test_composite(void)
{
	static const uint32_t even[] = { 100000, 100000, 100000, LARGE - 300000, 0 };
	static const uint32_t uneven[] = { 100000, 90000, 110000, LARGE - 300000, 0 };
	static const uint32_t one[] = { LARGE, 0 };
	char value[24];

	large.checksum_name = CRC32;
	large.part_bytes = even;
	large.checksum = composite_of(&large, value);
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	fetch(NULL);
	ok(holds(&large), "a composite checksum is verified");
	is_int(fake_count(s->is_head), 1, "one part is requested");
	is_int(fake_count(s->is_head && s->has_if_match && s->part_number == 1), 1,
	       "it is the first part");
	reset(&large);
	fake.next = &other;
	fake.change_at = 2;
	fetch(NULL);
	ok(holds(&other), "an object that changes meanwhile is downloaded");
	reset(&large);
	fake.faults[0] = (struct fault){ FAULT_CUT, true, (uint64_t)17 * PART, 0, 4 };
	fetch(NULL);
	ok(has_failed(ERR_UNREACHABLE), "the download is interrupted");
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 1, "the download is resumed");

	large.checksum = "AAAAAA==-4";
	reset(&large);
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA), "a wrong composite checksum is refused");

	large.part_bytes = uneven;
	large.checksum = composite_of(&large, value);
	reset(&large);
	fetch(NULL);
	ok(holds(&large) && fake_count(s->is_head) == 2,
	   "parts of different lengths are not checked");
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA), "they are refused if a checksum is required");

	large.part_bytes = NULL;
	reset(&large);
	fetch(NULL);
	ok(holds(&large), "unknown parts are not checked");
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA) && sink.size == 0,
	   "they are refused if a checksum is required");

	large.part_bytes = one;
	large.checksum = composite_of(&large, value);
	reset(&large);
	options.checksum = S3_CHECKSUM_REQUIRE;
	fetch(NULL);
	ok(holds(&large) && fake_count(s->is_head) == 0, "one part causes no request for it");
	large.checksum = NULL;
	large.part_bytes = NULL;
}

static const char *md5_of(const struct object *object, char ret[40])
{
	uint8_t sum[EVP_MAX_MD_SIZE];

	EVP_Digest(object->bytes, object->size, sum, NULL, EVP_md5(), NULL);
	for (size_t i = 0; i < 16; i++)
		sprintf(ret + 1 + 2 * i, "%02x", sum[i]);
	ret[0] = ret[33] = '"';
	ret[34] = '\0';
	return ret;
}

static void test_md5(void)
{
	struct object object = small;
	char etag[40];

	object.etag = md5_of(&object, etag);
	reset(&object);
	fake.faults[0] = (struct fault){ .kind = FAULT_FLIP, .times = 1 };
	fetch(NULL);
	ok(holds(&object) && fake.n_seen == 2, "a body that is not of its ETag is fetched again");
	fake.faults[0].times = 2;
	sink.size = 0;
	fetch(NULL);
	ok(has_failed(ERR_BUSY) && strstr(err.msg, "MD5"), "twice: the service is busy");
	is_int((int64_t)sink.size, 0, "nothing is kept for the next attempt");
	fetch(NULL);
	ok(holds(&object) && fake.n_seen == 1 && !source.has_warned[S3_WARNS_ETAGS],
	   "the next attempt takes what agrees");

	reset(&object);
	object.etag = "\"00000000000000000000000000000000\"";
	fetch(NULL);
	ok(holds(&object) && fake.n_seen == 2 && source.has_warned[S3_WARNS_ETAGS],
	   "the same bytes twice: the ETags of the service are no MD5s");
	sink.size = 0;
	fetch(NULL);
	ok(holds(&object) && fake.n_seen == 1, "which is learned");

	static const char *const rows[][3] = {
		{ "\"00000000000000000000000000000000-2\"", "x", "an upload in parts" },
		{ "\"0000\"", "x", "another ETag" },
		{ "\"00000000000000000000000000000000\"", "x-amz-server-side-encryption",
		  "an object encrypted with KMS" },
		{ "\"00000000000000000000000000000000\"",
		  "x-amz-server-side-encryption-customer-algorithm",
		  "one encrypted with a customer's key" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		object.etag = rows[i][0];
		object.header = rows[i][1];
		object.value = "aws:kms";
		reset(&object);
		fetch(NULL);
		ok(holds(&object) && fake.n_seen == 1, "not compared: %s", rows[i][2]);
	}
	object.header = NULL;
	reset(&object);
	options.checksum = S3_CHECKSUM_OFF;
	object.etag = "\"00000000000000000000000000000000\"";
	fetch(NULL);
	ok(holds(&object) && fake.n_seen == 1, "not compared: checks are off");
}

int main(void)
{
	fixture_begin();
	test_checksum();
	test_resume_checked();
	test_composite();
	test_md5();
	fixture_end();
	return tap_done();
}
