#include "config/legacy_fingerprint.h"

#include <string.h>

static int add_text(struct digest *digest, const char *text, struct err *err)
{
	return digest_update(digest, text, strlen(text) + 1, err);
}

static int add_row(struct digest *digest, const struct options *options, size_t row,
		   struct err *err)
{
	const struct option_spec *spec = &options->table->rows[row];

	if (add_text(digest, spec->name, err) < 0)
		return -1;
	if (spec->type != OPTION_STRINGS)
		return add_text(digest, options->texts[row], err);
	const char *const *element = option_strings(spec, options->values);
	for (; element && *element; element++) {
		if (add_text(digest, *element, err) < 0)
			return -1;
	}
	return 0;
}

int legacy_fingerprint(const struct options *options, const char *kind, struct digest *digest,
		       uint64_t *ret, struct err *err)
{
	uint8_t sum[DIGEST_SIZE];

	if (digest_reset(digest, err) < 0 || add_text(digest, kind, err) < 0)
		return -1;
	for (size_t row = 0; options->table->rows[row].name; row++) {
		bool counts = options->given >> row & 1 && !options->table->rows[row].secret;
		if (counts && (add_row(digest, options, row, err) < 0 ||
			       digest_update(digest, "\n", 1, err) < 0))
			return -1;
	}
	if (digest_final(digest, sum, err) < 0)
		return -1;
	memcpy(ret, sum, sizeof(*ret));
	return 0;
}
