#include "config/option.h"

#include <assert.h>
#include <ctype.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "base/util.h"

#define MODE_MASK 0555

const struct option_spec *option_find(const struct option_table *table, const char *name)
{
	for (const struct option_spec *spec = table->rows; spec->name; spec++) {
		if (*spec->name == *name && strcmp(spec->name, name) == 0)
			return spec;
	}
	return NULL;
}

/* ------------------------------------------------------------------ text to number */

static int parse_bool(const char *text, int64_t *ret, struct err *err)
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

static int parse_whole(const char *text, int64_t *ret, struct err *err)
{
	bool is_negative = *text == '-';
	uint64_t number = 0;
	const char *rest = parse_digits(text + is_negative, &number);

	if (!rest || *rest)
		return err_set(err, ERR_CONFIG, "\"%.64s\" is not a whole number", text);
	if (number > INT64_MAX)
		return err_set(err, ERR_CONFIG, "%.64s is out of range", text);
	*ret = is_negative ? -(int64_t)number : (int64_t)number;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* From the smallest to the largest. */
static const struct unit time_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
};
static const struct unit size_units[] = {
	{ "", 1 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "TiB", UINT64_C(1) << 40 },
};

/* A number and its unit. Returns false if text is something else; *ret_fits says whether the
 * product fits. */
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

static int parse_duration(const char *text, int64_t *ret, struct err *err)
{
	uint64_t ms = 0;
	bool fits = false;

	if (!parse_quantity(text, time_units, ARRAY_SIZE(time_units), &ms, &fits))
		return err_set(err, ERR_CONFIG,
			       "\"%.64s\" is not a duration such as 250ms, 30s, 5m, 12h or 7d",
			       text);
	if (!fits || ms > OPTION_DURATION_MAX_MS)
		return err_set(err, ERR_CONFIG, "%.64s is too long: at most 3650d", text);
	*ret = (int64_t)ms;
	return 0;
}

static int parse_size(const char *text, int64_t *ret, struct err *err)
{
	uint64_t bytes = 0;
	bool fits = false;

	if (!parse_quantity(text, size_units, ARRAY_SIZE(size_units), &bytes, &fits))
		return err_set(err, ERR_CONFIG,
			       "\"%.64s\" is not a size such as 4096, 64KiB, 1MiB or 1GiB", text);
	if (!fits || bytes > INT64_MAX)
		return err_set(err, ERR_CONFIG, "%.64s is too large", text);
	*ret = (int64_t)bytes;
	return 0;
}

/* "a, b, c" */
static const char *list_words(const char *const *words, char *ret, size_t size)
{
	size_t used = 0;

	*ret = '\0';
	for (size_t i = 0; words[i] && used < size; i++) {
		int n = snprintf(ret + used, size - used, "%s%s", i ? ", " : "", words[i]);
		used += n > 0 ? (size_t)n : 0;
	}
	return ret;
}

static int parse_word(const char *const *words, const char *text, int64_t *ret, struct err *err)
{
	char list[256];
	size_t n = 0;

	for (; words[n]; n++) {
		if (strcmp(text, words[n]) == 0) {
			*ret = (int64_t)n;
			return 0;
		}
	}
	if (n == 2)
		return err_set(err, ERR_CONFIG, "\"%.64s\" is neither %s nor %s", text, words[0],
			       words[1]);
	return err_set(err, ERR_CONFIG, "\"%.64s\" is none of %s", text,
		       list_words(words, list, sizeof(list)));
}

static int parse_mode(const char *text, int64_t *ret, struct err *err)
{
	size_t len = strlen(text);

	if (len < 3 || len > 5 || strspn(text, "01234567") != len)
		return err_set(err, ERR_CONFIG, "\"%.64s\" is not an octal mode such as 0444",
			       text);
	long mode = strtol(text, NULL, 8);
	if (mode & ~MODE_MASK)
		return err_set(err, ERR_CONFIG,
			       "%s has more than the bits 0555: terms are read-only", text);
	*ret = mode;
	return 0;
}

/* A number that may be an id. UINT32_MAX means "no change" to the kernel. */
static bool parse_id(const char *text, int64_t *ret)
{
	uint64_t id = 0;
	const char *rest = parse_digits(text, &id);

	if (!rest || *rest || id >= UINT32_MAX)
		return false;
	*ret = (int64_t)id;
	return true;
}

static int parse_user(const char *text, int64_t *ret, struct err *err)
{
	char buffer[16384];
	struct passwd entry, *found = NULL;

	if (parse_id(text, ret))
		return 0;
	if (getpwnam_r(text, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
		return err_set(err, ERR_CONFIG, "there is no user \"%.64s\"", text);
	*ret = found->pw_uid;
	return 0;
}

static int parse_group(const char *text, int64_t *ret, struct err *err)
{
	char buffer[65536];
	struct group entry, *found = NULL;

	if (parse_id(text, ret))
		return 0;
	if (getgrnam_r(text, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
		return err_set(err, ERR_CONFIG, "there is no group \"%.64s\"", text);
	*ret = found->gr_gid;
	return 0;
}

static int check_bounds(const struct option_spec *spec, int64_t number, struct err *err)
{
	int64_t max = spec->max == 0 && spec->type == OPTION_NUMBER ? UINT32_MAX : spec->max;
	char texts[3][OPTION_TEXT_SIZE];

	if (number >= spec->min && (max == 0 || number <= max))
		return 0;
	option_number_text(spec, number, texts[0]);
	option_number_text(spec, spec->min, texts[1]);
	option_number_text(spec, max, texts[2]);
	if (max)
		return err_set(err, ERR_CONFIG, "%s is not between %s and %s", texts[0], texts[1],
			       texts[2]);
	if (spec->min == 1)
		return err_set(err, ERR_CONFIG, "must be greater than 0");
	return err_set(err, ERR_CONFIG, "%s is less than %s", texts[0], texts[1]);
}

int option_parse_number(const struct option_spec *spec, const char *text, int64_t *ret,
			struct err *err)
{
	int64_t number = 0;
	int result = 0;

	switch (spec->type) {
	case OPTION_STRING:
	case OPTION_STRINGS:
		assert(false);
		break;
	case OPTION_BOOL:
		return parse_bool(text, ret, err);
	case OPTION_WORD:
		return parse_word(spec->words, text, ret, err);
	case OPTION_MODE:
		return parse_mode(text, ret, err);
	case OPTION_USER:
		return parse_user(text, ret, err);
	case OPTION_GROUP:
		return parse_group(text, ret, err);
	case OPTION_NUMBER:
		result = parse_whole(text, &number, err);
		break;
	case OPTION_DURATION:
		if (spec->allows_never && strcmp(text, "never") == 0) {
			*ret = OPTION_NEVER;
			return 0;
		}
		result = parse_duration(text, &number, err);
		break;
	case OPTION_SIZE:
		result = parse_size(text, &number, err);
		break;
	}
	if (result < 0 || check_bounds(spec, number, err) < 0)
		return -1;
	*ret = number;
	return 0;
}

bool option_is_valid_number(const struct option_spec *spec, int64_t number)
{
	struct err ignored = ERR_INIT;
	int64_t n_words = 0;

	switch (spec->type) {
	case OPTION_STRING:
	case OPTION_STRINGS:
		return false;
	case OPTION_BOOL:
		return number == 0 || number == 1;
	case OPTION_WORD:
		while (spec->words[n_words])
			n_words++;
		return number >= 0 && number < n_words;
	case OPTION_MODE:
		return number >= 0 && !(number & ~MODE_MASK);
	case OPTION_USER:
	case OPTION_GROUP:
		return number >= 0 && number < UINT32_MAX;
	case OPTION_DURATION:
		if (number == OPTION_NEVER || number > OPTION_DURATION_MAX_MS)
			return number == OPTION_NEVER && spec->allows_never;
		break;
	case OPTION_NUMBER:
	case OPTION_SIZE:
		break;
	}
	return check_bounds(spec, number, &ignored) == 0;
}

/* ------------------------------------------------------------------ number to text */

static void quantity_text(uint64_t number, const struct unit *units, size_t n_units,
			  char ret[OPTION_TEXT_SIZE])
{
	size_t i = n_units - 1;

	while (i > 0 && (number < units[i].factor || number % units[i].factor != 0))
		i--;
	snprintf(ret, OPTION_TEXT_SIZE, "%" PRIu64 "%s", number / units[i].factor, units[i].name);
}

const char *option_number_text(const struct option_spec *spec, int64_t number,
			       char ret[OPTION_TEXT_SIZE])
{
	switch (spec->type) {
	case OPTION_BOOL:
		snprintf(ret, OPTION_TEXT_SIZE, "%s", number ? "true" : "false");
		break;
	case OPTION_WORD:
		snprintf(ret, OPTION_TEXT_SIZE, "%s", spec->words[number]);
		break;
	case OPTION_DURATION:
		if (number == OPTION_NEVER)
			snprintf(ret, OPTION_TEXT_SIZE, "never");
		else
			quantity_text((uint64_t)number, time_units, ARRAY_SIZE(time_units), ret);
		break;
	case OPTION_SIZE:
		quantity_text((uint64_t)number, size_units, ARRAY_SIZE(size_units), ret);
		break;
	case OPTION_MODE:
		snprintf(ret, OPTION_TEXT_SIZE, "%04o", (unsigned)number);
		break;
	case OPTION_STRING:
	case OPTION_STRINGS:
	case OPTION_NUMBER:
	case OPTION_USER:
	case OPTION_GROUP:
		snprintf(ret, OPTION_TEXT_SIZE, "%" PRId64, number);
		break;
	}
	return ret;
}

void option_show_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (size_t len; *text; text += len) {
		len = utf8_printable(text);
		/* "${" would begin a variable. */
		if (strchr("\"\\$", *text))
			fprintf(out, "\\%c", *text);
		else if (*text == '\n')
			fputs("\\n", out);
		else if (len)
			fwrite(text, 1, len, out);
		else
			fprintf(out, "\\x%02x", (unsigned char)*text);
		len += !len;
	}
	fputc('"', out);
}

/* The name of a secret "Name: value", as headers are, is shown: without it the file would not load.
 */
static void show_text(const char *text, bool is_masked, FILE *out)
{
	static const char others[] = "!#$%&'*+-.^_`|~"; /* RFC 9110, 5.6.2 */
	size_t len = 0;

	if (!is_masked) {
		option_show_quoted(text, out);
		return;
	}
	while (isalnum((unsigned char)text[len]) || (text[len] && strchr(others, text[len])))
		len++;
	if (len > 0 && text[len] == ':')
		fprintf(out, "\"%.*s: ***\"", (int)len, text);
	else
		fputs("\"***\"", out);
}

bool option_is_set(const struct option_spec *spec, const void *values)
{
	switch (spec->type) {
	case OPTION_STRING:
		return option_string(spec, values);
	case OPTION_STRINGS:
		return option_strings(spec, values) && *option_strings(spec, values);
	case OPTION_NUMBER:
	case OPTION_DURATION:
	case OPTION_SIZE:
		/* A 0 that is neither the default nor within the bounds means that there is no
		 * value. */
		return spec->default_text || spec->min <= 0 || option_number(spec, values) != 0;
	case OPTION_BOOL:
	case OPTION_WORD:
	case OPTION_MODE:
	case OPTION_USER:
	case OPTION_GROUP:
		break;
	}
	return true;
}

static void show_list(const struct option_spec *spec, const char *const *list, FILE *out)
{
	fputs("{ ", out);
	for (const char *const *element = list; *element; element++) {
		fputs(element != list ? ", " : "", out);
		show_text(*element, spec->secret, out);
	}
	fputs(" }", out);
}

static void show_string(const struct option_spec *spec, const char *text, FILE *out)
{
	size_t size = strlen(text) + sizeof("?…");
	_cleanup_free_ char *masked = spec->mask ? malloc(size) : NULL;

	if (!spec->mask)
		option_show_quoted(text, out);
	else if (masked)
		option_show_quoted(spec->mask(text, masked, size), out);
	else
		fputs("\"***\"", out);
}

void option_show(const struct option_spec *spec, const void *values, FILE *out)
{
	char text[OPTION_TEXT_SIZE];

	if (spec->type == OPTION_STRINGS)
		show_list(spec, option_strings(spec, values), out);
	else if (spec->secret && !spec->mask)
		fputs("\"***\"", out);
	else if (spec->type == OPTION_STRING)
		show_string(spec, option_string(spec, values), out);
	else
		fputs(option_number_text(spec, option_number(spec, values), text), out);
}

/* ------------------------------------------------------------------ fields */

static const char *field_of(const struct option_spec *spec, const void *values)
{
	return (const char *)values + spec->offset;
}

const char *option_string(const struct option_spec *spec, const void *values)
{
	const char *string;

	assert(spec->type == OPTION_STRING && spec->size == sizeof(string));
	memcpy(&string, field_of(spec, values), sizeof(string));
	return string;
}

const char *option_file(const struct option_spec *spec, const void *values)
{
	return spec->names_file ? option_string(spec, values) : NULL;
}

const char *const *option_strings(const struct option_spec *spec, const void *values)
{
	const char *const *strings;

	assert(spec->type == OPTION_STRINGS && spec->size == sizeof(strings));
	memcpy(&strings, field_of(spec, values), sizeof(strings));
	return strings;
}

int64_t option_number(const struct option_spec *spec, const void *values)
{
	int64_t large = 0;
	uint32_t number = 0;
	bool flag = false;

	switch (spec->size) {
	case sizeof(flag):
		memcpy(&flag, field_of(spec, values), sizeof(flag));
		return flag;
	case sizeof(number):
		memcpy(&number, field_of(spec, values), sizeof(number));
		return number;
	default:
		assert(spec->size == sizeof(large));
		memcpy(&large, field_of(spec, values), sizeof(large));
		return large;
	}
}

void option_put_string(const struct option_spec *spec, void *values, const char *string)
{
	assert(spec->type == OPTION_STRING && spec->size == sizeof(string));
	memcpy((char *)values + spec->offset, &string, sizeof(string));
}

void option_put_strings(const struct option_spec *spec, void *values, const char *const *strings)
{
	assert(spec->type == OPTION_STRINGS && spec->size == sizeof(strings));
	memcpy((char *)values + spec->offset, &strings, sizeof(strings));
}

void option_put_number(const struct option_spec *spec, void *values, int64_t number)
{
	char *field = (char *)values + spec->offset;
	uint32_t small = (uint32_t)number;
	bool flag = number;

	switch (spec->size) {
	case sizeof(flag):
		memcpy(field, &flag, sizeof(flag));
		break;
	case sizeof(small):
		memcpy(field, &small, sizeof(small));
		break;
	default:
		assert(spec->size == sizeof(number));
		memcpy(field, &number, sizeof(number));
		break;
	}
}

static bool equal_lists(const char *const *a, const char *const *b)
{
	for (; a && b && *a && *b; a++, b++) {
		if (strcmp(*a, *b) != 0)
			return false;
	}
	return (!a || !*a) == (!b || !*b);
}

bool option_equal(const struct option_spec *spec, const void *a, const void *b)
{
	if (spec->type == OPTION_STRING) {
		const char *left = option_string(spec, a), *right = option_string(spec, b);
		return left && right ? strcmp(left, right) == 0 : left == right;
	}
	if (spec->type == OPTION_STRINGS)
		return equal_lists(option_strings(spec, a), option_strings(spec, b));
	return option_number(spec, a) == option_number(spec, b);
}

void option_copy(const struct option_spec *spec, void *to, const void *from)
{
	memcpy((char *)to + spec->offset, field_of(spec, from), spec->size);
}

void option_problem(struct option_problems *problems, const char *option, const char *other,
		    const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	problems->add(problems, option, other, text);
}

/* ------------------------------------------------------------------ the values of a block */

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "out of memory");
}

const void *options_defaults(const struct option_table *table, struct pool *pool)
{
	void *values = pool_alloc(pool, table->size);

	for (const struct option_spec *spec = table->rows; values && spec->name; spec++) {
		const char *text = spec->default_text;
		struct err ignored = ERR_INIT;
		int64_t number = 0;
		assert(spec->type != OPTION_STRINGS || !text);
		if (!text)
			continue;
		if (spec->type == OPTION_STRING) {
			const char *string = pool_string(pool, text, strlen(text));
			if (!string)
				return NULL;
			option_put_string(spec, values, string);
			continue;
		}
		int parsed = option_parse_number(spec, text, &number, &ignored);
		assert(parsed == 0);
		(void)parsed;
		option_put_number(spec, values, number);
	}
	return values;
}

void options_init(struct options *options, const struct option_table *table, void *values,
		  const void *defaults, struct pool *pool)
{
	options->table = table;
	options->pool = pool;
	options->values = values;
	options->given = 0;
	memcpy(values, defaults, table->size);
}

static size_t index_of(const struct options *options, const struct option_spec *spec)
{
	size_t index = (size_t)(spec - options->table->rows);

	assert(index < OPTION_ROWS_MAX);
	return index;
}

bool options_is_given(const struct options *options, const struct option_spec *spec)
{
	return options->given >> index_of(options, spec) & 1;
}

int option_check_text(const struct option_spec *spec, const char *text, struct err *err)
{
	if (spec->check && spec->check(text, err) < 0)
		return err_prefix(err, "%s", spec->name);
	return 0;
}

static int append(struct options *options, const struct option_spec *spec, const char *const *texts,
		  size_t n, struct err *err)
{
	const char *const *before = option_strings(spec, options->values);
	size_t n_before = 0;

	while (before && before[n_before])
		n_before++;
	_cleanup_free_ const char **all = calloc(n_before + n + 1, sizeof(*all));
	if (!all)
		return out_of_memory(err);
	for (size_t i = 0; i < n_before; i++)
		all[i] = before[i];
	for (size_t i = 0; i < n; i++) {
		if (option_check_text(spec, texts[i], err) < 0)
			return -1;
		all[n_before + i] = pool_string(options->pool, texts[i], strlen(texts[i]));
		if (!all[n_before + i])
			return out_of_memory(err);
	}
	const char *const *list = pool_list(options->pool, all, n_before + n);
	if (!list)
		return out_of_memory(err);
	option_put_strings(spec, options->values, list);
	return 0;
}

static int set_one(struct options *options, const struct option_spec *spec, const char *text,
		   struct err *err)
{
	int64_t number = 0;

	if (spec->type == OPTION_STRING) {
		if (option_check_text(spec, text, err) < 0)
			return -1;
	} else if (option_parse_number(spec, text, &number, err) < 0) {
		if (spec->secret)
			return err_set(err, ERR_CONFIG, "%s: the value is not valid", spec->name);
		return err_prefix(err, "%s", spec->name);
	}
	/* Identity options rarely have the same value twice. */
	const char *copy = spec->role == OPTION_IDENTITY
				   ? pool_copy(options->pool, text, strlen(text))
				   : pool_string(options->pool, text, strlen(text));
	if (!copy)
		return out_of_memory(err);
	options->texts[index_of(options, spec)] = copy;
	if (spec->type == OPTION_STRING)
		option_put_string(spec, options->values, copy);
	else
		option_put_number(spec, options->values, number);
	return 0;
}

int options_set_texts(struct options *options, const struct option_spec *spec,
		      const char *const *texts, size_t n, struct err *err)
{
	int result = spec->type == OPTION_STRINGS ? append(options, spec, texts, n, err)
						  : set_one(options, spec, texts[0], err);

	if (result == 0 && n > 0)
		options->given |= UINT64_C(1) << index_of(options, spec);
	return result;
}

int options_set(struct options *options, const char *name, const char *text, struct err *err)
{
	const struct option_spec *spec = option_find(options->table, name);

	if (!spec)
		return err_set(err, ERR_CONFIG, "unknown option \"%.64s\"", name);
	return options_set_texts(options, spec, &text, 1, err);
}
