/*
 * static: content written in the configuration.
 *
 *	static { data = "hello\n" version = "1" }
 *	static { base64 = "AAECAw==" }
 *
 * The version is the option of that name, or part of the digest.
 */
#include <string.h>

#include "base/digest.h"
#include "base/util.h"
#include "fetchers/registry.h"
#include "fetchers/shared/base64.h"

#define DIGEST_SHOWN 16 /* hexadecimal digits */

struct static_options {
	const char *data, *base64, *version;
};

static int check_version(const char *version, struct err *err)
{
	if (!*version || strlen(version) >= VERSION_SIZE)
		return err_set(err, ERR_CONFIG, "must have 1 to %d bytes", VERSION_SIZE - 1);
	return 0;
}

/* White space is allowed. */
static int decode(const char *text, uint8_t **ret, size_t *ret_len, struct err *err)
{
	_cleanup_free_ char *packed = malloc(strlen(text) + 1);
	size_t len = 0;

	if (!packed)
		return err_set(err, ERR_CONFIG, "out of memory");
	for (; *text; text++) {
		if (!strchr(" \t\r\n", *text))
			packed[len++] = *text;
	}
	_cleanup_free_ uint8_t *decoded = malloc(BASE64_DECODED_SIZE(len));
	if (!decoded)
		return err_set(err, ERR_CONFIG, "out of memory");
	ssize_t n = base64_decode(packed, len, decoded);
	if (n < 0)
		return err_set(err, ERR_CONFIG, "not valid base64");
	*ret_len = (size_t)n;
	*ret = steal_ptr(&decoded);
	return 0;
}

static int check_base64(const char *text, struct err *err)
{
	_cleanup_free_ uint8_t *decoded = NULL;
	size_t len;

	return decode(text, &decoded, &len, err);
}

static const struct option_spec rows[] = {
	{ .name = "data",
	  .type = OPTION_STRING,
	  OPTION_FIELD(static_options, data),
	  .role = OPTION_IDENTITY,
	  .help = "the content" },
	{ .name = "base64",
	  .type = OPTION_STRING,
	  OPTION_FIELD(static_options, base64),
	  .role = OPTION_IDENTITY,
	  .check = check_base64,
	  .help = "the content in base64" },
	{ .name = "version",
	  .type = OPTION_STRING,
	  OPTION_FIELD(static_options, version),
	  .role = OPTION_IDENTITY,
	  .check = check_version,
	  .help = "the version of the content; left out: its digest" },
	{ .name = NULL },
};

static const struct option_table static_table = OPTION_TABLE(rows, static_options);

/* "static" is a keyword of C. */
struct fixed {
	uint8_t *decoded; /* owned; the decoded base64; NULL: data is borrowed */
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

static int set_version(struct fixed *fixed, const char *version, struct err *err)
{
	size_t size = sizeof(fixed->version.token);
	uint8_t digest[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];

	if (version) {
		snprintf(fixed->version.token, size, "%s", version);
		return 0;
	}
	if (digest_of(fixed->data, fixed->len, digest, err) < 0)
		return -1;
	snprintf(fixed->version.token, size, "sha256:%.*s", DIGEST_SHOWN, digest_hex(digest, hex));
	return 0;
}

static void static_check(const void *values, struct option_problems *problems)
{
	const struct static_options *options = values;

	if (options->data && options->base64)
		option_problem(problems, "base64", "data", "data and base64 exclude each other");
	if (!options->data && !options->base64)
		option_problem(problems, "data", "base64", "one of data and base64 is needed");
}

static int static_init(void **ret_state, const void *options, struct helper *helper,
		       struct err *err)
{
	const struct static_options *given = options;
	const char *data = given->data;
	const char *base64 = given->base64;
	_cleanup_(static_free_cleanup) struct fixed *fixed = calloc(1, sizeof(*fixed));

	(void)helper;
	if (!fixed)
		return err_set(err, ERR_CONFIG, "out of memory");
	if (data) {
		fixed->data = data;
		fixed->len = strlen(data);
	} else if (!base64) { /* in an image, which static_check() does not see */
		return err_set(err, ERR_CONFIG, "neither data nor base64 is given");
	} else {
		if (decode(base64, &fixed->decoded, &fixed->len, err) < 0)
			return err_prefix(err, "base64");
		fixed->data = fixed->decoded;
	}
	if (set_version(fixed, given->version, err) < 0)
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
		.options = &static_table,
		.check = static_check,
		.init = static_init,
		.free = static_free,
		.describe = static_describe,
	},
	.current_version = static_current_version,
	.download = static_download,
};
