#include "http/decode.h"

#include <brotli/decode.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#include "base/util.h"

#define OUTPUT_SIZE (64 * 1024)

/* RFC 9659: the window that a decoder of zstd has to support. */
#define ZSTD_WINDOW_LOG_MAX 23

struct coding {
	const char *name;
	int (*start)(struct decoder *decoder);
	void (*end)(struct decoder *decoder);
	int (*feed)(struct decoder *decoder, const void *data, size_t len, struct err *err);
};

struct decoder {
	const struct coding *coding;
	decoder_output *output;
	void *arg;
	bool is_complete; /* the input may end here */
	bool is_padded;	  /* gzip: zero bytes have followed the last member */
	union {
		z_stream gzip;
		BrotliDecoderState *brotli;
		ZSTD_DStream *zstd;
	};
	uint8_t out[OUTPUT_SIZE];
};

static int broken(const struct decoder *decoder, const char *why, struct err *err)
{
	return err_set(err, ERR_BAD_DATA, "content coding %s is broken: %s", decoder->coding->name,
		       why);
}

/* ---- gzip (RFC 1952): one member or several, and zero bytes, which gzip(1) ignores too ---- */

static int gzip_start(struct decoder *decoder)
{
	return inflateInit2(&decoder->gzip, 16 + MAX_WBITS) == Z_OK ? 0 : -1;
}

static void gzip_end(struct decoder *decoder)
{
	inflateEnd(&decoder->gzip);
}

static int gzip_skip_padding(struct decoder *decoder, const uint8_t *data, size_t len,
			     struct err *err)
{
	decoder->is_padded = true;
	for (size_t i = 0; i < len; i++) {
		if (data[i] != 0)
			return broken(decoder, "bytes after its end", err);
	}
	return 0;
}

static int gzip_feed(struct decoder *decoder, const void *data, size_t len, struct err *err)
{
	z_stream *z = &decoder->gzip;

	z->next_in = (Bytef *)(uintptr_t)data;
	z->avail_in = (uInt)len;
	do {
		if (decoder->is_complete && z->avail_in) {
			if (decoder->is_padded || *z->next_in == 0)
				return gzip_skip_padding(decoder, z->next_in, z->avail_in, err);
			inflateReset(z);
			decoder->is_complete = false;
		}
		z->next_out = decoder->out;
		z->avail_out = sizeof(decoder->out);
		int code = inflate(z, Z_NO_FLUSH);
		if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
			return broken(decoder, z->msg ? z->msg : "not gzip", err);
		decoder->is_complete = code == Z_STREAM_END;
		size_t n = sizeof(decoder->out) - z->avail_out;
		if (n && decoder->output(decoder->arg, decoder->out, n, err) < 0)
			return -1;
	} while (z->avail_in || (!z->avail_out && !decoder->is_complete));
	return 0;
}

/* ---- br (RFC 7932) ---- */

static int brotli_start(struct decoder *decoder)
{
	decoder->brotli = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	return decoder->brotli ? 0 : -1;
}

static void brotli_end(struct decoder *decoder)
{
	BrotliDecoderDestroyInstance(decoder->brotli);
}

static int brotli_feed(struct decoder *decoder, const void *data, size_t len, struct err *err)
{
	const uint8_t *in = data;
	BrotliDecoderResult result;

	if (decoder->is_complete && len)
		return broken(decoder, "bytes after its end", err);
	do {
		uint8_t *out = decoder->out;
		size_t space = sizeof(decoder->out);
		result = BrotliDecoderDecompressStream(decoder->brotli, &len, &in, &space, &out,
						       NULL);
		if (result == BROTLI_DECODER_RESULT_ERROR)
			return broken(decoder,
				      BrotliDecoderErrorString(
					      BrotliDecoderGetErrorCode(decoder->brotli)),
				      err);
		size_t n = sizeof(decoder->out) - space;
		if (n && decoder->output(decoder->arg, decoder->out, n, err) < 0)
			return -1;
	} while (result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT);
	decoder->is_complete = result == BROTLI_DECODER_RESULT_SUCCESS;
	if (decoder->is_complete && len)
		return broken(decoder, "bytes after its end", err);
	return 0;
}

/* ---- zstd (RFC 8878): one frame or several ---- */

static int zstd_start(struct decoder *decoder)
{
	decoder->zstd = ZSTD_createDStream();
	if (!decoder->zstd)
		return -1;
	ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
	return 0;
}

static void zstd_end(struct decoder *decoder)
{
	ZSTD_freeDStream(decoder->zstd);
}

static int zstd_feed(struct decoder *decoder, const void *data, size_t len, struct err *err)
{
	ZSTD_inBuffer in = { .src = data, .size = len };
	ZSTD_outBuffer out;

	do {
		out = (ZSTD_outBuffer){ .dst = decoder->out, .size = sizeof(decoder->out) };
		size_t left = ZSTD_decompressStream(decoder->zstd, &out, &in);
		if (ZSTD_isError(left))
			return broken(decoder, ZSTD_getErrorName(left), err);
		decoder->is_complete = left == 0;
		if (out.pos && decoder->output(decoder->arg, decoder->out, out.pos, err) < 0)
			return -1;
	} while (in.pos < in.size || (out.pos == out.size && !decoder->is_complete));
	return 0;
}

/* ---- all of them ---- */

static const struct coding known[] = {
	{ "gzip", gzip_start, gzip_end, gzip_feed },
	{ "x-gzip", gzip_start, gzip_end, gzip_feed },
	{ "br", brotli_start, brotli_end, brotli_feed },
	{ "zstd", zstd_start, zstd_end, zstd_feed },
};

static const struct coding *coding_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcasecmp(known[i].name, name) == 0)
			return &known[i];
	}
	return NULL;
}

static bool leaves_bytes(const char *name)
{
	static const char *const names[] = { "",     "identity", "none",  "aws-chunked",
					     "utf8", "utf-8",	 "binary" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcasecmp(names[i], name) == 0)
			return true;
	}
	return false;
}

void codings_add(struct codings *codings, const char *line)
{
	for (;;) {
		char name[sizeof(codings->name)];

		line += strspn(line, " \t,");
		if (!*line)
			return;
		size_t len = strcspn(line, " \t,");
		size_t kept = len < sizeof(name) ? len : sizeof(name) - 1;
		memcpy(name, line, kept);
		name[kept] = '\0';
		line += len;
		if (leaves_bytes(name))
			continue;
		strcpy(codings->name, name);
		codings->n++;
	}
}

int decoder_new(struct decoder **ret, const struct codings *codings, decoder_output *output,
		void *arg, struct err *err)
{
	static const char remedy[] = "content_coding = as-sent takes the bytes as they are";
	_cleanup_free_ struct decoder *decoder = NULL;
	const struct coding *found = coding_find(codings->name);

	if (codings->n > 1)
		return err_set(err, ERR_BAD_DATA, "%u content codings at once (%s)", codings->n,
			       remedy);
	if (!found)
		return err_set(err, ERR_BAD_DATA, "unknown content coding \"%s\" (%s)",
			       codings->name, remedy);
	decoder = malloc(sizeof(*decoder));
	if (!decoder)
		return err_set(err, ERR_INTERNAL, "content coding: out of memory");
	memset(decoder, 0, offsetof(struct decoder, out));
	decoder->coding = found;
	decoder->output = output;
	decoder->arg = arg;
	if (found->start(decoder) < 0)
		return err_set(err, ERR_INTERNAL, "content coding: out of memory");
	*ret = steal_ptr(&decoder);
	return 0;
}

void decoder_free(struct decoder *decoder)
{
	if (!decoder)
		return;
	decoder->coding->end(decoder);
	free(decoder);
}

int decoder_feed(struct decoder *decoder, const void *data, size_t len, struct err *err)
{
	return len ? decoder->coding->feed(decoder, data, len, err) : 0;
}

int decoder_finish(const struct decoder *decoder, struct err *err)
{
	if (!decoder->is_complete)
		return broken(decoder, "it is incomplete", err);
	return 0;
}
