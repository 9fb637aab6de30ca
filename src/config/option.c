#include "config/option.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/digest.h"
#include "base/nearest_name.h"
#include "base/util.h"

/* A value that was set. Most options of most terms are not: those take no memory. */
struct value {
	const struct option_spec *spec;
	char *text;	/* owned; OPTION_STRINGS: NULL */
	char **list;	/* owned, NULL-terminated; of OPTION_STRINGS only */
	int64_t number; /* what text says, of all types but the two of strings */
};

struct options {
	const struct option_spec *table;
	struct value *values; /* owned */
	size_t n_values;
};

int option_parse_bool(const char *text, bool *ret, struct err *err)
{
	static const char *const words[] = { "false", "no", "off", "true", "yes", "on" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*ret = i >= ARRAY_SIZE(words) / 2;
			return 0;
		}
	}
	return err_set(err, ERR_CONFIG, "\"%.64s\" is neither true nor false", text);
}

/* The digits that text begins with. Returns the rest, or NULL if there is none or too many. */
static const char *parse_digits(const char *text, uint64_t *ret)
{
	uint64_t number = 0;

	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++) {
		if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
			return NULL;
	}
	*ret = number;
	return text;
}

int option_parse_int(const char *text, int64_t *ret, struct err *err)
{
	bool negative = *text == '-';
	uint64_t number = 0;
	const char *rest = parse_digits(text + negative, &number);

	if (!rest || *rest)
		return err_set(err, ERR_CONFIG, "\"%.64s\" is not a whole number", text);
	if (number > INT64_MAX)
		return err_set(err, ERR_CONFIG, "%.64s is out of range", text);
	*ret = negative ? -(int64_t)number : (int64_t)number;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* A number and its unit; false when text is something else, *ret_fits when it is too large. */
static bool parse_quantity(const char *text, const struct unit *units, size_t n_units,
			   uint64_t *ret, bool *ret_fits)
{
	uint64_t number = 0;
	const char *unit = parse_digits(text, &number);

	for (size_t i = 0; unit && i < n_units; i++) {
		if (strcmp(unit, units[i].name) == 0) {
			*ret_fits = !__builtin_mul_overflow(number, units[i].factor, ret);
			return true;
		}
	}
	return false;
}

int option_parse_duration(const char *text, int64_t *ret_ms, struct err *err)
{
	static const struct unit units[] = {
		{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
	};
	uint64_t ms = 0;
	bool fits = false;

	if (!parse_quantity(text, units, ARRAY_SIZE(units), &ms, &fits))
		return err_set(err, ERR_CONFIG,
			       "\"%.64s\" is not a duration such as 250ms, 30s, 5m, 12h or 7d",
			       text);
	if (!fits || ms > OPTION_DURATION_MAX_MS)
		return err_set(err, ERR_CONFIG, "%.64s is too long, at most 3650d are possible",
			       text);
	*ret_ms = (int64_t)ms;
	return 0;
}

int option_parse_size(const char *text, uint64_t *ret_bytes, struct err *err)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "KiB", UINT64_C(1) << 10 },
		{ "MiB", UINT64_C(1) << 20 },
		{ "GiB", UINT64_C(1) << 30 },
		{ "TiB", UINT64_C(1) << 40 },
	};
	uint64_t bytes = 0;
	bool fits = false;

	if (!parse_quantity(text, units, ARRAY_SIZE(units), &bytes, &fits))
		return err_set(err, ERR_CONFIG,
			       "\"%.64s\" is not a size such as 4096, 64KiB, 1MiB or 1GiB", text);
	if (!fits || bytes > INT64_MAX)
		return err_set(err, ERR_CONFIG, "%.64s is too large", text);
	*ret_bytes = bytes;
	return 0;
}

const struct option_spec *option_find(const struct option_spec *table, const char *name)
{
	/* A file of many terms is loaded while readers wait: names in the program are mostly the
	 * very same literals, and most others differ in the first character. */
	for (const struct option_spec *spec = table; spec->name; spec++) {
		if (spec->name == name)
			return spec;
	}
	for (const struct option_spec *spec = table; spec->name; spec++) {
		if (*spec->name == *name && strcmp(spec->name, name) == 0)
			return spec;
	}
	return NULL;
}

const char *option_nearest(const struct option_spec *table, const char *name)
{
	struct nearest nearest = NEAREST_INIT(name);

	for (const struct option_spec *spec = table; spec->name; spec++)
		nearest_consider(&nearest, spec->name);
	return nearest.found;
}

int options_new(struct options **ret, const struct option_spec *table, struct err *err)
{
	struct options *options = calloc(1, sizeof(*options));

	if (!options)
		return err_set(err, ERR_INTERNAL, "out of memory");
	options->table = table;
	*ret = options;
	return 0;
}

void options_free(struct options *options)
{
	if (!options)
		return;
	for (size_t i = 0; i < options->n_values; i++) {
		struct value *value = &options->values[i];
		for (char **element = value->list; element && *element; element++)
			free(*element);
		free(value->list);
		free(value->text);
	}
	free(options->values);
	free(options);
}

static struct value *find_value(const struct options *options, const struct option_spec *spec)
{
	for (size_t i = 0; i < options->n_values; i++) {
		if (options->values[i].spec == spec)
			return &options->values[i];
	}
	return NULL;
}

static int parse_number(const struct option_spec *spec, const char *text, int64_t *ret,
			struct err *err)
{
	uint64_t bytes = 0;
	bool is_true = false;

	switch (spec->type) {
	case OPTION_STRING:
	case OPTION_STRINGS:
		return 0;
	case OPTION_BOOL:
		if (option_parse_bool(text, &is_true, err) < 0)
			return -1;
		*ret = is_true;
		return 0;
	case OPTION_INT:
		return option_parse_int(text, ret, err);
	case OPTION_DURATION:
		return option_parse_duration(text, ret, err);
	case OPTION_SIZE:
		if (option_parse_size(text, &bytes, err) < 0)
			return -1;
		*ret = (int64_t)bytes;
		return 0;
	case OPTION_CUSTOM:
		return spec->parse(text, ret, err);
	}
	return 0;
}

static int append_element(struct value *value, char *element, struct err *err)
{
	size_t n = 0;

	while (value->list && value->list[n])
		n++;
	char **list = realloc(value->list, (n + 2) * sizeof(*list));
	if (!list)
		return err_set(err, ERR_INTERNAL, "out of memory");
	list[n] = element;
	list[n + 1] = NULL;
	value->list = list;
	return 0;
}

/* The place of the option's value, a new one if it has none yet. */
static struct value *want_value(struct options *options, const struct option_spec *spec)
{
	struct value *value = find_value(options, spec);

	if (value)
		return value;
	struct value *values = realloc(options->values,
				       (options->n_values + 1) * sizeof(*options->values));
	if (!values)
		return NULL;
	options->values = values;
	value = &values[options->n_values++];
	*value = (struct value){ .spec = spec };
	return value;
}

int options_set(struct options *options, const char *name, const char *text, struct err *err)
{
	const struct option_spec *spec = option_find(options->table, name);
	int64_t number = 0;

	if (!spec)
		return err_set(err, ERR_CONFIG, "unknown option \"%.64s\"", name);
	if (parse_number(spec, text, &number, err) < 0) {
		if (spec->secret)
			return err_set(err, ERR_CONFIG, "%s: the value is not valid", name);
		return err_prefix(err, "%s", name);
	}

	_cleanup_free_ char *copy = strdup(text);
	struct value *value = copy ? want_value(options, spec) : NULL;
	if (!value)
		return err_set(err, ERR_INTERNAL, "out of memory");
	if (spec->type == OPTION_STRINGS) {
		if (append_element(value, copy, err) < 0)
			return -1;
		copy = NULL;
		return 0;
	}
	free(value->text);
	value->text = steal_ptr(&copy);
	value->number = number;
	return 0;
}

int options_check(const struct options *options, struct err *err)
{
	for (const struct option_spec *spec = options->table; spec->name; spec++) {
		if (spec->required && !find_value(options, spec))
			return err_set(err, ERR_CONFIG, "option \"%s\" is required", spec->name);
	}
	return 0;
}

bool options_is_set(const struct options *options, const char *name)
{
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec);
	return find_value(options, spec);
}

static const char *text_of(const struct options *options, const struct option_spec *spec)
{
	const struct value *value = find_value(options, spec);

	return value ? value->text : spec->default_text;
}

const char *options_text(const struct options *options, const char *name)
{
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec && spec->type != OPTION_STRINGS);
	return text_of(options, spec);
}

static int64_t number_of(const struct options *options, const struct option_spec *spec)
{
	struct err err = ERR_INIT;
	int64_t number = 0;
	const struct value *value = find_value(options, spec);

	if (value)
		return value->number;
	if (spec->default_text) {
		int parsed = parse_number(spec, spec->default_text, &number, &err);
		assert(parsed == 0);
		(void)parsed;
	}
	return number;
}

const char *options_string(const struct options *options, const char *name)
{
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec && spec->type == OPTION_STRING);
	return text_of(options, spec);
}

bool options_bool(const struct options *options, const char *name)
{
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec && spec->type == OPTION_BOOL);
	return number_of(options, spec);
}

int64_t options_int(const struct options *options, const char *name)
{
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec && (spec->type == OPTION_INT || spec->type == OPTION_CUSTOM));
	return number_of(options, spec);
}

int64_t options_duration_ms(const struct options *options, const char *name)
{
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec && spec->type == OPTION_DURATION);
	return number_of(options, spec);
}

uint64_t options_size_bytes(const struct options *options, const char *name)
{
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec && spec->type == OPTION_SIZE);
	return (uint64_t)number_of(options, spec);
}

const char *const *options_strings(const struct options *options, const char *name, size_t *ret_n)
{
	static const char *const none[] = { NULL };
	const struct option_spec *spec = option_find(options->table, name);

	assert(spec && spec->type == OPTION_STRINGS);
	const struct value *value = find_value(options, spec);
	const char *const *list = value ? (const char *const *)value->list : none;
	if (ret_n) {
		for (*ret_n = 0; list[*ret_n]; (*ret_n)++)
			;
	}
	return list;
}

const struct option_spec *options_table(const struct options *options)
{
	return options->table;
}

/* Each text goes in with its NUL, so that no two lists of texts look the same. */
static int digest_text(struct digest *digest, const char *text, struct err *err)
{
	return digest_update(digest, text, strlen(text) + 1, err);
}

static int digest_value(struct digest *digest, const struct value *value, struct err *err)
{
	if (digest_text(digest, value->spec->name, err) < 0)
		return -1;
	if (value->text && digest_text(digest, value->text, err) < 0)
		return -1;
	for (char **element = value->list; element && *element; element++) {
		if (digest_text(digest, *element, err) < 0)
			return -1;
	}
	return digest_update(digest, "\n", 1, err);
}

DEFINE_CLEANUP(struct digest, digest_free)

int options_fingerprint(const struct options *options, const char *kind, uint64_t *ret,
			struct err *err)
{
	_cleanup_(digest_free_cleanup) struct digest *digest = NULL;
	uint8_t sum[DIGEST_SIZE];

	if (digest_new(&digest, err) < 0 || digest_text(digest, kind, err) < 0)
		return -1;
	/* In the order of the table: that of the file does not matter. */
	for (const struct option_spec *spec = options->table; spec->name; spec++) {
		const struct value *value = find_value(options, spec);
		if (value && !spec->secret && digest_value(digest, value, err) < 0)
			return -1;
	}
	if (digest_final(digest, sum, err) < 0)
		return -1;
	memcpy(ret, sum, sizeof(*ret));
	return 0;
}
