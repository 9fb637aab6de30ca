/*
 * Content codings. The input edits a good body, says where its pieces end, and how many bytes may
 * come out. Whatever the pieces, the same bytes come out.
 */
#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include "fuzz.h"
#include "http/decode.h"

#define TEXT_SIZE 3000
#define BODY_SIZE 8192
#define LIMIT_MAX (1U << 20)

struct body {
	const char *coding;
	uint8_t bytes[BODY_SIZE];
	size_t len;
};

/* Two of them have two members, or frames. */
static struct body bodies[] = { { .coding = "gzip" }, { .coding = "br" }, { .coding = "zstd" } };

static size_t put_gzip(const uint8_t *text, uint8_t *out, size_t size)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)text, .avail_in = TEXT_SIZE };

	fuzz_check(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK);
	z.next_out = out;
	z.avail_out = (uInt)size;
	fuzz_check(deflate(&z, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&z);
	return size - z.avail_out;
}

static size_t put_brotli(const uint8_t *text, uint8_t *out, size_t size)
{
	fuzz_check(BrotliEncoderCompress(5, 18, BROTLI_MODE_TEXT, TEXT_SIZE, text, &size, out));
	return size;
}

static size_t put_zstd(const uint8_t *text, uint8_t *out, size_t size)
{
	size_t len = ZSTD_compress(out, size, text, TEXT_SIZE, 3);

	fuzz_check(!ZSTD_isError(len));
	return len;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static uint8_t text[TEXT_SIZE];
	struct body *gzip = &bodies[0], *brotli = &bodies[1], *zstd = &bodies[2];

	(void)argc, (void)argv;
	for (size_t i = 0; i < TEXT_SIZE; i++)
		text[i] = (uint8_t)("rptfs"[i % 5] ^ (i * i >> 11));
	for (int member = 0; member < 2; member++) {
		gzip->len += put_gzip(text, gzip->bytes + gzip->len, BODY_SIZE - gzip->len);
		zstd->len += put_zstd(text, zstd->bytes + zstd->len, BODY_SIZE - zstd->len);
	}
	brotli->len = put_brotli(text, brotli->bytes, BODY_SIZE);
	return 0;
}

/* What came out: as much as is compared. */
struct output {
	size_t len, limit;
	uint64_t hash;
};

static int take(void *arg, const void *data, size_t len, struct err *err)
{
	struct output *output = arg;
	const uint8_t *bytes = data;

	fuzz_check(len);
	if (len > output->limit - output->len)
		return err_set(err, ERR_BAD_DATA, "too long");
	for (size_t i = 0; i < len; i++)
		output->hash = (output->hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	output->len += len;
	return 0;
}

/* Returns whether the body is complete and right. */
static bool decode(const struct body *body, size_t piece, struct output *output)
{
	struct codings codings = { .n = 0 };
	struct decoder *decoder = NULL;
	struct err err = ERR_INIT;
	int result = 0;

	codings_add(&codings, body->coding);
	fuzz_check(decoder_new(&decoder, &codings, take, output, &err) == 0);
	for (size_t at = 0; at < body->len && result == 0; at += piece) {
		size_t len = body->len - at < piece ? body->len - at : piece;
		/* AddressSanitizer sees a read beyond the piece. */
		_cleanup_free_ uint8_t *copy = malloc(len);
		fuzz_check(copy);
		memcpy(copy, body->bytes + at, len);
		result = decoder_feed(decoder, copy, len, &err);
	}
	if (result == 0)
		result = decoder_finish(decoder, &err);
	if (result < 0)
		fuzz_check_error(&err, ERR_BAD_DATA);
	decoder_free(decoder);
	return result == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	unsigned n = fuzz_below(&input, ARRAY_SIZE(bodies));
	struct body body = bodies[n];
	size_t limit = fuzz_below(&input, 2) ? fuzz_below(&input, TEXT_SIZE) : LIMIT_MAX;
	size_t piece = 1 + fuzz_below(&input, 64);
	struct output whole = { .limit = limit }, pieces = { .limit = limit };

	body.len -= fuzz_below(&input, (unsigned)body.len);
	fuzz_edit(&input, body.bytes, body.len);
	bool is_good = body.len == bodies[n].len && memcmp(&body, &bodies[n], sizeof(body)) == 0;
	bool is_right = decode(&body, body.len, &whole);
	bool is_right_in_pieces = decode(&body, piece, &pieces);
	fuzz_check(whole.len <= limit && pieces.len <= limit);
	fuzz_check(is_right == is_right_in_pieces);
	if (is_right)
		fuzz_check(whole.len == pieces.len && whole.hash == pieces.hash);
	if (is_good && limit == LIMIT_MAX)
		fuzz_check(is_right && whole.len % TEXT_SIZE == 0 && whole.len);
	return 0;
}
