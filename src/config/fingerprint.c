#include "config/fingerprint.h"

#include <string.h>

/* The NUL is hashed too, so that different lists of texts give different bytes. */
static int add_text(struct digest *digest, const char *text, struct err *err)
{
	return digest_update(digest, text, strlen(text) + 1, err);
}

static int add_list(struct digest *digest, const struct option_spec *spec,
		    const char *const *element, struct err *err)
{
	for (; element && *element; element++) {
		bool counts = !spec->is_manner || !spec->is_manner(*element);
		if (counts &&
		    (add_text(digest, spec->name, err) < 0 || add_text(digest, *element, err) < 0))
			return -1;
	}
	return 0;
}

static int add_value(struct digest *digest, const struct option_spec *spec, const void *values,
		     struct err *err)
{
	char number[OPTION_TEXT_SIZE];

	if (spec->type == OPTION_STRINGS)
		return add_list(digest, spec, option_strings(spec, values), err);
	const char *text = spec->type == OPTION_STRING
				   ? option_string(spec, values)
				   : option_number_text(spec, option_number(spec, values), number);
	if (add_text(digest, spec->name, err) < 0 || add_text(digest, text ? text : "", err) < 0)
		return -1;
	return digest_update(digest, text ? "=" : "-", 1, err);
}

/* Hashes the options with this role that differ from their defaults. *ret_any: there are some. */
static int compute(const struct source *source, const void *defaults, enum option_role role,
		   struct digest *digest, uint64_t *ret, bool *ret_any, struct err *err)
{
	uint8_t sum[DIGEST_SIZE];

	*ret_any = false;
	if (digest_reset(digest, err) < 0 || add_text(digest, source->type->name, err) < 0)
		return -1;
	for (const struct option_spec *spec = source->type->options->rows; spec->name; spec++) {
		if (spec->role != role || option_equal(spec, source->options, defaults))
			continue;
		*ret_any = true;
		if (add_value(digest, spec, source->options, err) < 0)
			return -1;
	}
	if (!*ret_any)
		return 0;
	if (digest_final(digest, sum, err) < 0)
		return -1;
	memcpy(ret, sum, sizeof(*ret));
	return 0;
}

int fingerprint_source(struct source *source, const void *defaults, struct digest *digest,
		       struct err *err)
{
	uint64_t judge = 0;
	bool has_identity = false, has_judge = false;

	source->fingerprint = 0;
	if (compute(source, defaults, OPTION_IDENTITY, digest, &source->fingerprint, &has_identity,
		    err) < 0 ||
	    compute(source, defaults, OPTION_JUDGE, digest, &judge, &has_judge, err) < 0)
		return -1;
	source->refusal_fingerprint = source->fingerprint ^ (has_judge ? judge : 0);
	return 0;
}
