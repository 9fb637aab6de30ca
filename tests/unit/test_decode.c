/* decode: each coding whole, in pieces, cut, and with bytes after its end. */
#include <brotli/encode.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "http/decode.h"
#include "tap.h"

#define PLAIN_SIZE 300000
#define CODED_MAX  400000

static uint8_t plain[PLAIN_SIZE];

struct coded {
	uint8_t data[CODED_MAX];
	size_t len;
};

struct output {
	uint8_t data[2 * PLAIN_SIZE];
	size_t len;
	bool is_full;
};

static struct output output;

static int take(void *arg, const void *data, size_t len, struct err *err)
{
	struct output *out = arg;

	if (out->is_full || out->len + len > sizeof(out->data))
		return err_set(err, ERR_INTERNAL, "no space");
	memcpy(out->data + out->len, data, len);
	out->len += len;
	return 0;
}

static void code_gzip(struct coded *ret)
{
	z_stream z = { .next_in = plain, .avail_in = PLAIN_SIZE };

	deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	z.next_out = ret->data;
	z.avail_out = CODED_MAX;
	deflate(&z, Z_FINISH);
	ret->len = z.total_out;
	deflateEnd(&z);
}

static void code_brotli(struct coded *ret)
{
	ret->len = CODED_MAX;
	BrotliEncoderCompress(5, 22, BROTLI_MODE_GENERIC, PLAIN_SIZE, plain, &ret->len, ret->data);
}

static void code_zstd(struct coded *ret)
{
	ret->len = ZSTD_compress(ret->data, CODED_MAX, plain, PLAIN_SIZE, 3);
}

/* Decodes in pieces of that size. Returns the kind of error, ERR_NONE for a complete body. */
static enum err_kind decode(const char *coding, const uint8_t *data, size_t len, size_t piece)
{
	struct codings codings = { .n = 0 };
	struct decoder *decoder = NULL;
	struct err err = ERR_INIT;
	int rc = 0;

	output.len = 0;
	codings_add(&codings, coding);
	if (decoder_new(&decoder, &codings, take, &output, &err) < 0)
		return err.kind;
	for (size_t i = 0; rc == 0 && i < len; i += piece)
		rc = decoder_feed(decoder, data + i, len - i < piece ? len - i : piece, &err);
	if (rc == 0)
		rc = decoder_finish(decoder, &err);
	decoder_free(decoder);
	return rc < 0 ? err.kind : ERR_NONE;
}

static bool is_plain(void)
{
	return output.len == PLAIN_SIZE && memcmp(output.data, plain, PLAIN_SIZE) == 0;
}

static void test_coding(const char *coding, void (*code)(struct coded *), bool may_repeat)
{
	static struct coded coded;
	size_t cuts[] = { 0, 1, 5, 1000, 0, 0, 0 };

	code(&coded);
	for (size_t piece = 1; piece <= coded.len; piece = piece * 37 + 1)
		ok(decode(coding, coded.data, coded.len, piece) == ERR_NONE && is_plain(),
		   "%s is decoded in pieces of %zu", coding, piece);
	ok(decode(coding, coded.data, coded.len, coded.len) == ERR_NONE && is_plain(),
	   "%s is decoded as a whole", coding);

	cuts[4] = coded.len / 2;
	cuts[5] = coded.len - 9;
	cuts[6] = coded.len - 1;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++)
		is_int(decode(coding, coded.data, cuts[i], 4096), ERR_BAD_DATA,
		       "%s that is cut after %zu bytes is refused", coding, cuts[i]);

	memcpy(coded.data + coded.len, "garbage", 7);
	is_int(decode(coding, coded.data, coded.len + 7, 4096), ERR_BAD_DATA,
	       "%s with bytes after its end is refused", coding);
	is_int(decode(coding, coded.data, coded.len + 7, 1), ERR_BAD_DATA,
	       "%s with bytes after its end is refused byte by byte", coding);
	is_int(decode(coding, (const uint8_t *)"this is no coding", 17, 17), ERR_BAD_DATA,
	       "bytes that are not %s are refused", coding);

	code(&coded);
	memcpy(coded.data + coded.len, coded.data,
	       CODED_MAX - coded.len < coded.len ? CODED_MAX - coded.len : coded.len);
	is_int(decode(coding, coded.data, 2 * coded.len, 4096),
	       may_repeat ? ERR_NONE : ERR_BAD_DATA, "%s twice in a row", coding);
	ok(!may_repeat || output.len == 2 * PLAIN_SIZE, "%s twice is twice as long", coding);

	output.is_full = true;
	is_int(decode(coding, coded.data, coded.len, 4096), ERR_INTERNAL,
	       "%s returns the error of the output", coding);
	output.is_full = false;
}

static void test_checksum(void)
{
	static struct coded coded;

	code_gzip(&coded);
	coded.data[coded.len - 6] ^= 1;
	is_int(decode("gzip", coded.data, coded.len, 4096), ERR_BAD_DATA,
	       "gzip with a wrong CRC is refused");
	code_gzip(&coded);
	coded.data[coded.len - 1] ^= 1;
	is_int(decode("gzip", coded.data, coded.len, 4096), ERR_BAD_DATA,
	       "gzip with a wrong length is refused");
}

/* Zero bytes fill a block of a tape. */
static void test_padding(void)
{
	static const size_t pieces[] = { 1, 511, 4096, CODED_MAX };
	static struct coded coded;
	const size_t padding = 10240;

	code_gzip(&coded);
	size_t member = coded.len, padded = member + padding;
	memset(coded.data + member, 0, CODED_MAX - member);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		is_int(decode("gzip", coded.data, padded, pieces[i]), ERR_NONE,
		       "gzip with zero bytes after its end in pieces of %zu", pieces[i]);
		ok(is_plain(), "they are ignored");
	}
	is_int(decode("gzip", coded.data, member + 1, member), ERR_NONE, "one zero byte");
	is_int(decode("gzip", coded.data, member - 1, 4096), ERR_BAD_DATA, "none in the member");

	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		coded.data[padded - 1] = 1;
		is_int(decode("gzip", coded.data, padded, pieces[i]), ERR_BAD_DATA,
		       "another byte after zero bytes is refused in pieces of %zu", pieces[i]);
		coded.data[padded - 1] = 0;
	}
	memcpy(coded.data + padded, coded.data, 100);
	is_int(decode("gzip", coded.data, padded + 100, 4096), ERR_BAD_DATA,
	       "a member after zero bytes is refused");
	is_int(decode("gzip", coded.data + member, padding, 4096), ERR_BAD_DATA,
	       "zero bytes without a member are refused");
}

static void test_codings(void)
{
	static const struct {
		const char *line;
		unsigned n;
		const char *name;
	} rows[] = {
		{ "", 0, "" },
		{ " , ,", 0, "" },
		{ "identity", 0, "" },
		{ "none", 0, "" },
		{ "aws-chunked", 0, "" },
		{ "AWS-Chunked,", 0, "" },
		{ "UTF-8", 0, "" },
		{ "gzip", 1, "gzip" },
		{ "aws-chunked,gzip", 1, "gzip" },
		{ "gzip , aws-chunked", 1, "gzip" },
		{ "gzip, br", 2, "br" },
		{ "deflate", 1, "deflate" },
	};
	struct decoder *decoder = NULL;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct codings codings = { .n = 0 };

		codings_add(&codings, rows[i].line);
		is_int(codings.n, rows[i].n, "codings of \"%s\"", rows[i].line);
		is_str(codings.name, rows[i].name, "the last of \"%s\"", rows[i].line);
	}
	struct codings codings = { .n = 1, .name = "deflate" };
	ok(decoder_new(&decoder, &codings, take, &output, &err) < 0 && strstr(err.msg, "deflate") &&
		   strstr(err.msg, "content_coding = as-sent"),
	   "an unknown coding is named, with the remedy");
	codings.n = 2;
	ok(decoder_new(&decoder, &codings, take, &output, &err) < 0 && err.kind == ERR_BAD_DATA,
	   "two codings are refused");
}

int main(void)
{
	/* Half random, so that it compresses to about half. */
	unsigned seed = 1;
	for (size_t i = 0; i < PLAIN_SIZE; i++) {
		seed = seed * 1103515245 + 12345;
		plain[i] = (uint8_t)(seed >> 28);
	}
	test_coding("gzip", code_gzip, true);
	test_coding("X-GZip", code_gzip, true);
	test_coding("br", code_brotli, false);
	test_coding("zstd", code_zstd, true);
	test_checksum();
	test_padding();
	is_int(decode("deflate", plain, 10, 10), ERR_BAD_DATA, "an unknown coding is refused");
	is_int(decode("gzip, br", plain, 10, 10), ERR_BAD_DATA, "two codings are refused");
	test_codings();
	return tap_done();
}
