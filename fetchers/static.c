/*
 * static: a term whose content stands in the configuration.
 *
 *	static { data = "hello\n" version = "1" }
 *	static { base64 = "AAECAw==" }
 *
 * Without a version the digest of the content tells it apart.
 */
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/digest.h"
#include "base/util.h"
#include "fetchers/registry.h"

#define DIGEST_SHOWN 16 /* hexadecimal digits */

static const struct option_spec option_specs[] = {
	{ .name = "data", .type = OPTION_STRING, .help = "the content" },
	{ .name = "base64", .type = OPTION_STRING, .help = "the content in base64" },
	{ .name = "version",
	  .type = OPTION_STRING,
	  .help = "what the content is called; its digest if left out" },
	{ .name = NULL },
};

/* "static" is a word of the language. */
struct fixed {
	uint8_t *decoded; /* owned; what base64 stood for; NULL: data is borrowed */
	const void *data;
	size_t len;
	struct version version;
};

static void static_free(void *state)
{
	struct fixed *fixed = state;

	if (!fixed)
		return;
	free(fixed->decoded);
	free(fixed);
}

DEFINE_CLEANUP(struct fixed, static_free)

/* Line breaks are allowed. OpenSSL's own reading of the text is too lenient to be trusted with a
 * slip of the pen, so that what is left is checked first. */
static int decode_base64(const char *text, uint8_t **ret, size_t *ret_len, struct err *err)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t size = strlen(text);
	_cleanup_free_ char *packed = malloc(size + 1);
	size_t len = 0;

	if (!packed || size > INT_MAX)
		return err_set(err, ERR_CONFIG, "base64: out of memory");
	for (; *text; text++) {
		if (!strchr(" \t\r\n", *text))
			packed[len++] = *text;
	}
	packed[len] = '\0';
	size_t n_digits = strspn(packed, digits);
	size_t padding = len - n_digits;
	if (len % 4 != 0 || padding > 2 || strspn(packed + n_digits, "=") != padding)
		return err_set(err, ERR_CONFIG, "base64: not valid base64");
	/* One byte more: no content is not no memory. */
	_cleanup_free_ uint8_t *decoded = malloc(len / 4 * 3 + 1);
	if (!decoded)
		return err_set(err, ERR_CONFIG, "base64: out of memory");
	if (len > 0 && EVP_DecodeBlock(decoded, (const uint8_t *)packed, (int)len) < 0)
		return err_set(err, ERR_CONFIG, "base64: not valid base64");
	*ret_len = len / 4 * 3 - padding;
	*ret = steal_ptr(&decoded);
	return 0;
}

static int set_version(struct fixed *fixed, const char *version, struct err *err)
{
	size_t size = sizeof(fixed->version.token);
	uint8_t digest[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];

	if (version) {
		if (!*version || strlen(version) >= size)
			return err_set(err, ERR_CONFIG, "version: must have 1 to %zu bytes",
				       size - 1);
		snprintf(fixed->version.token, size, "%s", version);
		return 0;
	}
	if (digest_of(fixed->data, fixed->len, digest, err) < 0)
		return -1;
	snprintf(fixed->version.token, size, "sha256:%.*s", DIGEST_SHOWN, digest_hex(digest, hex));
	return 0;
}

static int static_init(void **ret_state, const struct options *options, struct err *err)
{
	const char *data = options_string(options, "data");
	const char *base64 = options_string(options, "base64");
	_cleanup_(static_free_cleanup) struct fixed *fixed = calloc(1, sizeof(*fixed));

	if (!fixed)
		return err_set(err, ERR_CONFIG, "out of memory");
	if (!data == !base64)
		return err_set(err, ERR_CONFIG, "%s",
			       data ? "data and base64 exclude each other"
				    : "one of data and base64 is needed");
	if (data) {
		fixed->data = data;
		fixed->len = strlen(data);
	} else {
		if (decode_base64(base64, &fixed->decoded, &fixed->len, err) < 0)
			return -1;
		fixed->data = fixed->decoded;
	}
	if (set_version(fixed, options_string(options, "version"), err) < 0)
		return -1;
	*ret_state = steal_ptr(&fixed);
	return 0;
}

static const char *static_describe(void *state)
{
	(void)state;
	return "static";
}

static int static_current_version(void *state, struct fetch_ctx *ctx, struct version *ret,
				  struct err *err)
{
	const struct fixed *fixed = state;

	(void)ctx;
	(void)err;
	*ret = fixed->version;
	return 0;
}

static int static_download(void *state, struct fetch_ctx *ctx, struct sink *sink,
			   struct fetched *ret, struct err *err)
{
	const struct fixed *fixed = state;

	(void)ctx;
	ret->version = fixed->version;
	if (sink_expect(sink, fixed->len, err) < 0)
		return -1;
	return sink_write(sink, fixed->data, fixed->len, err);
}

const struct fetcher_ops fetcher_static = {
	.type = {
		.name = "static",
		.help = "a fixed value",
		.options = option_specs,
		.init = static_init,
		.free = static_free,
		.describe = static_describe,
	},
	.current_version = static_current_version,
	.download = static_download,
};
