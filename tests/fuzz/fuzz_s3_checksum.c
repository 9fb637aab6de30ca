/*
 * Checksums of S3: what a service claims, and what is computed for a body that comes in pieces.
 *
 * The input is the number of a header, its value on one line, the length of a part and of a piece
 * on the next, and the body.
 */
#include <inttypes.h>

#include <openssl/evp.h>

#include "fetchers/s3/s3_checksum.h"
#include "fuzz.h"

struct body {
	const uint8_t *bytes;
	size_t len;
};

/* Adds the body in pieces; between two of them the state is saved and restored, if it can be. */
static void add_in_pieces(struct s3_checksum **checksum, struct body body, size_t piece)
{
	struct err err = ERR_INIT;
	char text[S3_CHECKSUM_TEXT_SIZE];

	for (size_t at = 0; at < body.len; at += piece) {
		size_t len = body.len - at < piece ? body.len - at : piece;
		fuzz_check(s3_checksum_add(*checksum, body.bytes + at, len, &err) == 0);
		if (!s3_checksum_save(*checksum, text))
			continue;
		s3_checksum_free(*checksum);
		*checksum = s3_checksum_restore(text, at + len);
		fuzz_check(*checksum);
	}
}

/* Computes the checksum of the body. Returns whether the claim is right. */
static bool compute(const struct s3_claim *claim, uint64_t part, size_t piece, struct body body,
		    uint8_t ret[S3_CHECKSUM_BYTES_MAX])
{
	_cleanup_(s3_checksum_free_cleanup) struct s3_checksum *checksum = NULL;
	struct err err = ERR_INIT;
	bool is_right = false;

	fuzz_check(s3_checksum_new(&checksum, claim, part, &err) == 0);
	add_in_pieces(&checksum, body, piece);
	fuzz_check(s3_checksum_check(checksum, &is_right, &err) == 0);
	memcpy(ret, s3_checksum_found(checksum), S3_CHECKSUM_BYTES_MAX);
	return is_right;
}

/* A changed body does not match. */
static void check_damage(const struct s3_claim *claim, uint64_t part, struct body body)
{
	uint8_t found[S3_CHECKSUM_BYTES_MAX];
	_cleanup_free_ uint8_t *other = malloc(body.len + 1);

	fuzz_check(other);
	memcpy(other, body.bytes, body.len);
	other[body.len / 2] ^= 1;
	fuzz_check(!compute(claim, part, body.len + 1, (struct body){ other, body.len }, found) ||
		   !body.len);
}

static void check_claim(const struct s3_claim *claim, uint64_t part, size_t piece, struct body body)
{
	uint8_t whole[S3_CHECKSUM_BYTES_MAX], pieces[S3_CHECKSUM_BYTES_MAX];
	struct s3_claim right = *claim;

	fuzz_check(claim->n_parts <= 10000 && s3_claim_name(claim));
	bool is_right = compute(claim, part, body.len + 1, body, whole);
	fuzz_check(compute(claim, part, piece, body, pieces) == is_right);
	fuzz_check(memcmp(whole, pieces, sizeof(whole)) == 0);
	memcpy(right.bytes, whole, sizeof(right.bytes));
	if (right.n_parts > 1)
		right.n_parts = (uint32_t)((body.len + part - 1) / part);
	if (right.n_parts <= 1 && claim->n_parts > 1)
		return;
	fuzz_check(compute(&right, part, piece, body, pieces));
	check_damage(&right, part, body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct s3_claim claim = { .algorithm = NULL };
	unsigned n_headers = 0;
	uint32_t part = 0, piece = 0;

	while (s3_checksum_header(n_headers))
		n_headers++;
	unsigned index = fuzz_below(&input, n_headers);
	_cleanup_free_ char *value = fuzz_line(&input);
	_cleanup_free_ char *lengths = value ? fuzz_line(&input) : NULL;
	if (!lengths)
		return 0;
	sscanf(lengths, "%" SCNu32 " %" SCNu32, &part, &piece);
	struct body body = { input.next, input.left };
	part = part % 1000 + 1;
	piece = piece % 1000 + 1 + (uint32_t)body.len / 16; /* a few pieces, which take time */
	if (s3_claim_parse(index, value, &claim))
		check_claim(&claim, part, piece, body);
	if (s3_claim_of_etag(value, &claim)) {
		fuzz_check(s3_claim_is_of_etag(&claim));
		check_claim(&claim, part, piece, body);
	}
	s3_checksum_free(s3_checksum_restore(value, part));
	return 0;
}
