#include "fetchers/s3/s3_checksum.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include <openssl/evp.h>
#include <zlib.h>

#include "fetchers/shared/base64.h"

#define PARTS_MAX 10000 /* of one upload, by S3's rules */
#define NAME_SIZE 16

struct s3_algorithm {
	const char *name, *header;
	size_t bytes;
	const EVP_MD *(*md)(void); /* NULL: a CRC */
	uint64_t polynomial;	   /* reflected; 0: zlib computes it */
};

static const struct s3_algorithm algorithms[] = {
	{ "sha256", "x-amz-checksum-sha256", 32, .md = EVP_sha256 },
	{ "sha1", "x-amz-checksum-sha1", 20, .md = EVP_sha1 },
	{ "crc64nvme", "x-amz-checksum-crc64nvme", 8, .polynomial = 0x9a6c9329ac4bc9b5 },
	{ "crc32c", "x-amz-checksum-crc32c", 4, .polynomial = 0x82f63b78 },
	{ "crc32", "x-amz-checksum-crc32", 4 },
};

static const struct s3_algorithm md5 = { "md5", NULL, 16, .md = EVP_md5 };

/* One running checksum. */
struct state {
	EVP_MD_CTX *md; /* owned; NULL: a CRC */
	uint64_t crc;	/* of the bytes so far */
};

struct s3_checksum {
	struct s3_claim claim;
	uint64_t part_bytes; /* 0: there is only one part */
	uint64_t bytes;	     /* so far */
	struct state inner;  /* of the current part, or of the object */
	struct state outer;  /* of the checksums of the parts before it */
	/* For CRCs that are computed here, eight bytes at a time: table[n][b] is the effect of
	 * byte b followed by n more bytes. */
	uint64_t table[8][256];
	uint8_t found[S3_CHECKSUM_BYTES_MAX];
};

/* ---- claims ---- */

const char *s3_checksum_header(size_t index)
{
	return index < ARRAY_SIZE(algorithms) ? algorithms[index].header : NULL;
}

const char *s3_claim_name(const struct s3_claim *claim)
{
	return claim->algorithm->name;
}

/* Decodes the base64 of n bytes at the beginning of text. Returns its end; NULL: invalid. */
static const char *decode(const char *text, size_t n, uint8_t *ret)
{
	uint8_t bytes[S3_CHECKSUM_BYTES_MAX + 4];
	size_t len = (n + 2) / 3 * 4;

	if (strnlen(text, len) != len || base64_decode(text, len, bytes) != (ssize_t)n)
		return NULL;
	memcpy(ret, bytes, n);
	return text + len;
}

/* Parses "" or "-PARTS". */
static bool read_parts(const char *text, uint32_t *ret)
{
	char *end;

	if (!*text) {
		*ret = 0;
		return true;
	}
	if (text[0] != '-' || text[1] < '1' || text[1] > '9')
		return false;
	unsigned long n = strtoul(text + 1, &end, 10);
	*ret = n <= PARTS_MAX ? (uint32_t)n : 0;
	return *ret && !*end;
}

bool s3_claim_parse(size_t index, const char *value, struct s3_claim *ret)
{
	struct s3_claim claim = { .algorithm = &algorithms[index] };
	const char *rest = decode(value, claim.algorithm->bytes, claim.bytes);

	if (!rest || !read_parts(rest, &claim.n_parts))
		return false;
	*ret = claim;
	return true;
}

bool s3_claim_of_etag(const char *etag, struct s3_claim *ret)
{
	struct s3_claim claim = { .algorithm = &md5 };

	if (etag[0] != '"' || strspn(etag + 1, "0123456789abcdefABCDEF") != 2 * md5.bytes ||
	    strcmp(etag + 1 + 2 * md5.bytes, "\"") != 0)
		return false;
	for (size_t i = 0; i < md5.bytes; i++)
		sscanf(etag + 1 + 2 * i, "%2hhx", &claim.bytes[i]);
	*ret = claim;
	return true;
}

bool s3_claim_is_of_etag(const struct s3_claim *claim)
{
	return claim->algorithm == &md5;
}

/* ---- CRCs ---- */

static void make_table(struct s3_checksum *checksum)
{
	uint64_t polynomial = checksum->claim.algorithm->polynomial;
	uint64_t(*table)[256] = checksum->table;

	for (unsigned b = 0; b < 256; b++) {
		uint64_t crc = b;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
		table[0][b] = crc;
	}
	for (unsigned n = 1; n < 8; n++) {
		for (unsigned b = 0; b < 256; b++)
			table[n][b] = table[n - 1][b] >> 8 ^ table[0][table[n - 1][b] & 0xff];
	}
}

/* All of these CRCs begin with all ones and are inverted at the end. */
static uint64_t crc_add(const struct s3_checksum *checksum, uint64_t crc, const uint8_t *data,
			size_t len)
{
	uint64_t ones = UINT64_MAX >> (64 - 8 * checksum->claim.algorithm->bytes);
	const uint64_t(*table)[256] = checksum->table;
	uint64_t word;

	if (!checksum->claim.algorithm->polynomial)
		return crc32_z(crc, data, len);
	crc ^= ones;
	for (; len >= sizeof(word); data += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		word = le64toh(word) ^ crc;
		crc = table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^
		      table[5][word >> 16 & 0xff] ^ table[4][word >> 24 & 0xff] ^
		      table[3][word >> 32 & 0xff] ^ table[2][word >> 40 & 0xff] ^
		      table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
	}
	for (; len > 0; data++, len--)
		crc = crc >> 8 ^ table[0][(crc ^ *data) & 0xff];
	return crc ^ ones;
}

/* ---- one running checksum ---- */

static int fail(const struct s3_checksum *checksum, struct err *err)
{
	return err_set(err, ERR_INTERNAL, "computing %s: OpenSSL failed",
		       checksum->claim.algorithm->name);
}

static int state_start(const struct s3_checksum *checksum, struct state *state, struct err *err)
{
	const struct s3_algorithm *algorithm = checksum->claim.algorithm;

	state->crc = 0;
	if (!algorithm->md)
		return 0;
	if (!state->md)
		state->md = EVP_MD_CTX_new();
	if (!state->md || EVP_DigestInit_ex(state->md, algorithm->md(), NULL) != 1)
		return fail(checksum, err);
	return 0;
}

static int state_add(const struct s3_checksum *checksum, struct state *state, const uint8_t *data,
		     size_t len, struct err *err)
{
	if (!state->md)
		state->crc = crc_add(checksum, state->crc, data, len);
	else if (EVP_DigestUpdate(state->md, data, len) != 1)
		return fail(checksum, err);
	return 0;
}

static int state_end(const struct s3_checksum *checksum, struct state *state,
		     uint8_t ret[S3_CHECKSUM_BYTES_MAX], struct err *err)
{
	size_t n = checksum->claim.algorithm->bytes;
	uint64_t crc = state->crc;

	if (state->md)
		return EVP_DigestFinal_ex(state->md, ret, NULL) == 1 ? 0 : fail(checksum, err);
	for (; n > 0; crc >>= 8)
		ret[--n] = (uint8_t)crc;
	return 0;
}

/* ---- the whole ---- */

int s3_checksum_new(struct s3_checksum **ret, const struct s3_claim *claim, uint64_t part_bytes,
		    struct err *err)
{
	_cleanup_(s3_checksum_free_cleanup) struct s3_checksum *checksum = calloc(
		1, sizeof(*checksum));

	if (!checksum)
		return err_set(err, ERR_INTERNAL, "computing a checksum: out of memory");
	checksum->claim = *claim;
	checksum->part_bytes = claim->n_parts > 1 ? part_bytes : 0;
	if (claim->algorithm->polynomial)
		make_table(checksum);
	if (state_start(checksum, &checksum->inner, err) < 0 ||
	    state_start(checksum, &checksum->outer, err) < 0)
		return -1;
	*ret = steal_ptr(&checksum);
	return 0;
}

void s3_checksum_free(struct s3_checksum *checksum)
{
	if (!checksum)
		return;
	EVP_MD_CTX_free(checksum->inner.md);
	EVP_MD_CTX_free(checksum->outer.md);
	free(checksum);
}

const struct s3_claim *s3_checksum_claim(const struct s3_checksum *checksum)
{
	return &checksum->claim;
}

static int end_part(struct s3_checksum *checksum, struct err *err)
{
	uint8_t bytes[S3_CHECKSUM_BYTES_MAX];

	if (state_end(checksum, &checksum->inner, bytes, err) < 0 ||
	    state_add(checksum, &checksum->outer, bytes, checksum->claim.algorithm->bytes, err) < 0)
		return -1;
	return state_start(checksum, &checksum->inner, err);
}

int s3_checksum_add(struct s3_checksum *checksum, const void *data, size_t len, struct err *err)
{
	const uint8_t *rest = data;

	while (len > 0) {
		uint64_t part = checksum->part_bytes, n = len;
		/* A part ends when the next one begins; s3_checksum_check() ends the last one. */
		if (part && checksum->bytes && checksum->bytes % part == 0 &&
		    end_part(checksum, err) < 0)
			return -1;
		if (part && n > part - checksum->bytes % part)
			n = part - checksum->bytes % part;
		if (state_add(checksum, &checksum->inner, rest, n, err) < 0)
			return -1;
		checksum->bytes += n;
		rest += n;
		len -= n;
	}
	return 0;
}

const uint8_t *s3_checksum_found(const struct s3_checksum *checksum)
{
	return checksum->found;
}

static uint64_t count_parts(const struct s3_checksum *checksum)
{
	uint64_t part = checksum->part_bytes;

	return part ? (checksum->bytes + part - 1) / part : 1;
}

int s3_checksum_check(struct s3_checksum *checksum, bool *ret_is_right, struct err *err)
{
	const struct s3_claim *claim = &checksum->claim;
	struct state *state = claim->n_parts ? &checksum->outer : &checksum->inner;

	if (claim->n_parts && end_part(checksum, err) < 0)
		return -1;
	if (state_end(checksum, state, checksum->found, err) < 0)
		return -1;
	*ret_is_right = memcmp(checksum->found, claim->bytes, claim->algorithm->bytes) == 0 &&
			(!claim->n_parts || count_parts(checksum) == claim->n_parts);
	return 0;
}

/* ---- as text: NAME CLAIM PARTS PART-BYTES BYTES INNER OUTER ---- */

bool s3_checksum_save(const struct s3_checksum *checksum, char ret[S3_CHECKSUM_TEXT_SIZE])
{
	const struct s3_algorithm *algorithm = checksum->claim.algorithm;
	char claim[64];

	if (algorithm->md)
		return false;
	EVP_EncodeBlock((unsigned char *)claim, checksum->claim.bytes, (int)algorithm->bytes);
	snprintf(ret, S3_CHECKSUM_TEXT_SIZE,
		 "%s %s %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIx64 " %" PRIx64, algorithm->name,
		 claim, checksum->claim.n_parts, checksum->part_bytes, checksum->bytes,
		 checksum->inner.crc, checksum->outer.crc);
	return true;
}

static const struct s3_algorithm *find_crc(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
		if (!algorithms[i].md && strcmp(algorithms[i].name, name) == 0)
			return &algorithms[i];
	}
	return NULL;
}

struct s3_checksum *s3_checksum_restore(const char *text, uint64_t bytes)
{
	struct s3_claim claim = { .algorithm = NULL };
	char name[NAME_SIZE], value[64];
	uint64_t part_bytes, text_bytes, inner, outer;
	struct s3_checksum *checksum = NULL;
	struct err ignored = ERR_INIT;

	if (sscanf(text, "%15s %63s %" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNx64 " %" SCNx64, name,
		   value, &claim.n_parts, &part_bytes, &text_bytes, &inner, &outer) != 7)
		return NULL;
	claim.algorithm = find_crc(name);
	if (!claim.algorithm || !decode(value, claim.algorithm->bytes, claim.bytes) ||
	    text_bytes != bytes || s3_checksum_new(&checksum, &claim, part_bytes, &ignored) < 0)
		return NULL;
	checksum->bytes = bytes;
	checksum->inner.crc = inner;
	checksum->outer.crc = outer;
	return checksum;
}
