/* s3_checksum: published vectors, composites, pieces of any length, save and restore. */
#include "fetchers/s3/s3_checksum.h"

#include <string.h>

#include "tap.h"

#define BODY_BYTES 100000

static uint8_t body[BODY_BYTES];

static size_t index_of(const char *algorithm)
{
	const char *name;
	size_t i;

	for (i = 0; (name = s3_checksum_header(i)); i++) {
		if (strcmp(name + strlen("x-amz-checksum-"), algorithm) == 0)
			break;
	}
	return i;
}

/* Adds the data in pieces (0: in one). Returns whether the checksum matches; < 0: an error. */
static int check(const char *algorithm, const char *value, uint64_t part_bytes, const void *data,
		 size_t len, size_t piece)
{
	_cleanup_(s3_checksum_free_cleanup) struct s3_checksum *checksum = NULL;
	const uint8_t *at = data;
	struct s3_claim claim;
	struct err err = ERR_INIT;
	bool is_right = false;

	if (!s3_claim_parse(index_of(algorithm), value, &claim))
		return -1;
	if (s3_checksum_new(&checksum, &claim, part_bytes, &err) < 0)
		return -2;
	for (size_t n; len > 0; at += n, len -= n) {
		n = piece && piece < len ? piece : len;
		if (s3_checksum_add(checksum, at, n, &err) < 0)
			return -3;
	}
	return s3_checksum_check(checksum, &is_right, &err) < 0 ? -4 : is_right;
}

static void test_published(void)
{
	/* Check values: the catalogue of CRCs, RFC 3720 B.4, NVM Command Set 5.2.1.3.4. */
	static const struct {
		const char *algorithm, *value;
		enum { DIGITS, NOTHING, ZEROS, ONES, RISING } what;
		size_t len;
	} vectors[] = {
		{ "crc32", "y/Q5Jg==", DIGITS, 9 },
		{ "crc32c", "4waSgw==", DIGITS, 9 },
		{ "crc64nvme", "rosUhgp5mIg=", DIGITS, 9 },
		{ "sha1", "98O8HYCOBHMq32eZZczDTKeuNEE=", DIGITS, 9 },
		{ "sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=", DIGITS, 9 },
		{ "crc32", "AAAAAA==", NOTHING, 0 },
		{ "crc32c", "AAAAAA==", NOTHING, 0 },
		{ "crc64nvme", "AAAAAAAAAAA=", NOTHING, 0 },
		{ "sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", NOTHING, 0 },
		{ "sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", NOTHING, 0 },
		{ "crc32c", "ipE2qg==", ZEROS, 32 },
		{ "crc32c", "YqirQw==", ONES, 32 },
		{ "crc32c", "Rt15Tg==", RISING, 32 },
		{ "crc64nvme", "ZILTZ+sitk4=", ZEROS, 4096 },
		{ "crc64nvme", "wN26cwLso6w=", ONES, 4096 },
		{ "crc64nvme", "PnKfX2dQRJw=", RISING, 4096 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t data[4096] = "123456789";

		for (size_t j = 0; j < sizeof(data) && vectors[i].what >= ZEROS; j++)
			data[j] = vectors[i].what == ZEROS  ? 0
				  : vectors[i].what == ONES ? 0xff
							    : (uint8_t)j;
		is_int(check(vectors[i].algorithm, vectors[i].value, 0, data, vectors[i].len, 0), 1,
		       "%s of published data %zu", vectors[i].algorithm, i);
	}
}

/* Checksums of body: whole, in parts of 30000 bytes, of 50000 bytes, as one part. */
static const struct {
	const char *algorithm, *whole, *parts, *halves, *one;
} bodies[] = {
	{ "crc64nvme", "SsmoHbxnYHY=", "n7vFprplrBQ=-4", "eeaK/Ob8f/Y=-2", "fhJau9tw7OU=-1" },
	{ "crc32c", "atBRbQ==", "DchLYg==-4", "dOACGQ==-2", "TLm6nw==-1" },
	{ "crc32", "cq/AhQ==", "jOZDvQ==-4", "NJJ5Wg==-2", "ZH4Ntw==-1" },
	{ "sha1", "4jAtbTDDkatsurG8AI4eSt0JTXc=", "Xu4O8VzzlAWEKM3OQ9dxOM4NHpw=-4",
	  "CPj6x1PLsOlemK+pibjP6k6MY/I=-2", "b//f+e7mWCh+qx4tPD7YgklWjeI=-1" },
	{ "sha256", "a04/PR3uFdtyxRn1liutJT38fUGD1+MOZWJZzh7qsAc=",
	  "7BGauPXz+94ukAd0uXDhArQJVi3RpqrQj01OWPaxQxc=-4",
	  "WQpME65J8aKI7wuPAuuZNrgRlSlaw1NP9ycfzJs1KOc=-2",
	  "4EFCoIhaEQJ391kM+pOL5m+aMiln84V9zUCZozLzFss=-1" },
};

static void test_pieces(void)
{
	static const size_t pieces[] = { 0, 1, 7, 8, 4096, 29999, 30000, 30001, 50000 };

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		const char *name = bodies[i].algorithm;
		bool are_right = true;

		for (size_t j = 0; j < ARRAY_SIZE(pieces); j++) {
			size_t n = pieces[j];
			are_right &= check(name, bodies[i].whole, 0, body, BODY_BYTES, n) == 1;
			are_right &= check(name, bodies[i].parts, 30000, body, BODY_BYTES, n) == 1;
			are_right &= check(name, bodies[i].halves, 50000, body, BODY_BYTES, n) == 1;
			are_right &= check(name, bodies[i].one, 0, body, BODY_BYTES, n) == 1;
		}
		ok(are_right, "%s is right for whole and composite claims, in pieces of any length",
		   name);
		body[77777] ^= 4;
		is_int(check(name, bodies[i].whole, 0, body, BODY_BYTES, 0), 0,
		       "a wrong bit in the whole is found");
		is_int(check(name, bodies[i].parts, 30000, body, BODY_BYTES, 0), 0,
		       "a wrong bit in a part is found");
		body[77777] ^= 4;
		is_int(check(name, bodies[i].parts, 30000, body, BODY_BYTES - 1, 0), 0,
		       "a missing byte is found");
		is_int(check(name, bodies[i].parts, 25000, body, BODY_BYTES, 0), 0,
		       "parts of another length are found");
	}
}

static void test_claims(void)
{
	static const char *const wrong[] = {
		"",
		"AAAA",
		"AAAAAA",
		"AAAAAA=",
		"AAAAAA==-",
		"AAAAAA==-0",
		"AAAAAA==-x",
		"AAAAAA==-3x",
		"AAAAAA==-+3",
		"AAAAAA==--3",
		"AAAAAA==-10001",
		"AAAAAA== ",
		"AAA=AA==",
		"AAAAAA===",
		"!AAAAA==",
		"AAAAAAAA",
		"AAAAAAA=",
		" AAAAAA==",
		"AAAAAA==-99999999999999999999",
	};
	struct s3_claim claim = { .n_parts = 7 };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		ok(!s3_claim_parse(index_of("crc32"), wrong[i], &claim), "invalid: \"%s\"",
		   wrong[i]);
	is_int(claim.n_parts, 7, "ret is unchanged");
	ok(s3_claim_parse(index_of("crc32"), "AAAAAA==-10000", &claim) && claim.n_parts == 10000,
	   "the largest number of parts is accepted");
	is_str(s3_claim_name(&claim), "crc32", "the claim has a name");
	ok(!s3_checksum_header(index_of("md5")), "MD5 is not supported");
}

/* Interrupts at `at`, saves, restores and continues. */
static int resume(const char *algorithm, const char *value, uint64_t part_bytes, size_t at)
{
	_cleanup_(s3_checksum_free_cleanup) struct s3_checksum *first = NULL;
	_cleanup_(s3_checksum_free_cleanup) struct s3_checksum *second = NULL;
	char text[S3_CHECKSUM_TEXT_SIZE];
	struct s3_claim claim;
	struct err err = ERR_INIT;
	bool is_right = false;

	if (!s3_claim_parse(index_of(algorithm), value, &claim) ||
	    s3_checksum_new(&first, &claim, part_bytes, &err) < 0 ||
	    s3_checksum_add(first, body, at, &err) < 0)
		return -1;
	if (!s3_checksum_save(first, text))
		return -2;
	second = s3_checksum_restore(text, at);
	if (!second || s3_checksum_add(second, body + at, BODY_BYTES - at, &err) < 0 ||
	    s3_checksum_check(second, &is_right, &err) < 0)
		return -3;
	return is_right;
}

static void test_resume(void)
{
	static const size_t places[] = { 0, 1, 29999, 30000, 30001, 60000, 99999, 100000 };
	struct s3_checksum *checksum = NULL;

	for (size_t i = 0; i < 3; i++) {
		bool are_right = true;
		for (size_t j = 0; j < ARRAY_SIZE(places); j++) {
			are_right &= resume(bodies[i].algorithm, bodies[i].whole, 0, places[j]) ==
				     1;
			are_right &= resume(bodies[i].algorithm, bodies[i].parts, 30000,
					    places[j]) == 1;
		}
		ok(are_right, "%s resumes anywhere", bodies[i].algorithm);
	}
	is_int(resume("sha1", bodies[3].whole, 0, 5), -2, "the state of SHA-1 cannot be saved");
	is_int(resume("sha256", bodies[4].whole, 0, 5), -2, "the state of SHA-256 cannot be saved");

	checksum = s3_checksum_restore("crc32 cq/AhQ== 0 0 5 deadbeef 0", 5);
	ok(checksum, "a saved state is restored");
	s3_checksum_free(checksum);
	ok(!s3_checksum_restore("crc32 cq/AhQ== 0 0 5 deadbeef 0", 6),
	   "a state for another offset is refused");
	ok(!s3_checksum_restore("sha1 cq/AhQ== 0 0 5 deadbeef 0", 5),
	   "a state that is not of a CRC is refused");
	ok(!s3_checksum_restore("crc32 cq/A 0 0 5 deadbeef 0", 5),
	   "a state with an invalid checksum is refused");
	ok(!s3_checksum_restore("crc32 cq/AhQ== 0 0 5", 5), "an incomplete state is refused");
	ok(!s3_checksum_restore("", 0), "an empty state is refused");
}

int main(void)
{
	for (size_t i = 0; i < BODY_BYTES; i++)
		body[i] = (uint8_t)(i * 7 + i / 251);
	test_published();
	test_pieces();
	test_claims();
	test_resume();
	return tap_done();
}
