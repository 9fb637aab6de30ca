#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "config/config_name.h"
#include "config/image.h"
#include "config/image_format.h"

struct image_table {
	const struct option_table *table;
	const struct source_type *type; /* NULL: of the root or of terms */
	const void *defaults;
	const struct option_spec **rows; /* by the image's number; NULL: unknown here */
	size_t n_rows;
};

struct reader {
	const uint8_t *next, *end;
	const char *strings;
	size_t strings_len;
	struct pool *pool; /* borrowed */
	const struct source_type *const *types;
	struct image_table *tables; /* of the pool */
	size_t n_tables;
	const char *const **lists; /* of the pool; as are the lists */
	size_t n_lists;
};

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_BAD_DATA, "the image of the configuration is corrupt: %s", what);
}

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "configuration: out of memory");
}

static int get_number(struct reader *r, uint64_t *ret, struct err *err)
{
	uint64_t number = 0;

	for (unsigned shift = 0; shift < 64 && r->next < r->end; shift += 7) {
		uint8_t byte = *r->next++;
		number |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = number;
			return 0;
		}
	}
	return bad(err, "a number");
}

/* A number of items. Each of them takes at least one byte. */
static int get_count(struct reader *r, size_t *ret, struct err *err)
{
	uint64_t number = 0;

	if (get_number(r, &number, err) < 0)
		return -1;
	if (number > (size_t)(r->end - r->next))
		return bad(err, "a count");
	*ret = number;
	return 0;
}

static int get_fingerprint(struct reader *r, uint64_t *ret, struct err *err)
{
	if ((size_t)(r->end - r->next) < sizeof(*ret))
		return bad(err, "a fingerprint");
	memcpy(ret, r->next, sizeof(*ret));
	r->next += sizeof(*ret);
	return 0;
}

/* The area of strings ends with a NUL, so every string in it is terminated. *ret may become
 * NULL. */
static int find_string(const struct reader *r, uint64_t number, const char **ret, struct err *err)
{
	if (number > r->strings_len)
		return bad(err, "a string");
	*ret = number ? r->strings + number - 1 : NULL;
	return 0;
}

static int get_string(struct reader *r, const char **ret, struct err *err)
{
	uint64_t number = 0;

	if (get_number(r, &number, err) < 0 || find_string(r, number, ret, err) < 0)
		return -1;
	return *ret ? 0 : bad(err, "a string is missing");
}

/* ------------------------------------------------------------------ tables and lists */

static int get_rows(struct reader *r, struct image_table *table, struct err *err)
{
	if (get_count(r, &table->n_rows, err) < 0)
		return -1;
	table->rows = pool_alloc(r->pool, (table->n_rows + 1) * sizeof(*table->rows));
	table->defaults = options_defaults(table->table, r->pool);
	if (!table->rows || !table->defaults)
		return out_of_memory(err);
	for (size_t i = 0; i < table->n_rows; i++) {
		const char *name = NULL;
		uint64_t type = 0;
		if (get_string(r, &name, err) < 0 || get_number(r, &type, err) < 0)
			return -1;
		table->rows[i] = option_find(table->table, name);
		if (table->rows[i] && table->rows[i]->type != type)
			table->rows[i] = NULL;
	}
	return 0;
}

static int get_table(struct reader *r, size_t index, struct err *err)
{
	struct image_table *table = &r->tables[index];
	const char *name = NULL;

	if (get_string(r, &name, err) < 0)
		return -1;
	if (index == IMAGE_ROOT)
		table->table = &config_root_table;
	else if (index == IMAGE_TERM)
		table->table = &config_term_table;
	for (size_t i = 0; index >= IMAGE_FIRST_TYPE && r->types[i]; i++) {
		if (strcmp(r->types[i]->name, name) == 0) {
			table->type = r->types[i];
			table->table = table->type->options;
		}
	}
	if (!table->table)
		return err_set(err, ERR_BAD_DATA, "configuration: there is no fetcher \"%.64s\"",
			       name);
	return get_rows(r, table, err);
}

static int get_tables(struct reader *r, struct err *err)
{
	if (get_count(r, &r->n_tables, err) < 0)
		return -1;
	if (r->n_tables < IMAGE_FIRST_TYPE)
		return bad(err, "a table is missing");
	r->tables = pool_alloc(r->pool, r->n_tables * sizeof(*r->tables));
	if (!r->tables)
		return out_of_memory(err);
	for (size_t i = 0; i < r->n_tables; i++) {
		if (get_table(r, i, err) < 0)
			return -1;
	}
	return 0;
}

static int get_list(struct reader *r, const char *const **ret, struct err *err)
{
	size_t n = 0;

	if (get_count(r, &n, err) < 0)
		return -1;
	const char **list = pool_alloc(r->pool, (n + 1) * sizeof(*list));
	if (!list)
		return out_of_memory(err);
	for (size_t i = 0; i < n; i++) {
		if (get_string(r, &list[i], err) < 0)
			return -1;
	}
	*ret = list;
	return 0;
}

static int get_lists(struct reader *r, struct err *err)
{
	if (get_count(r, &r->n_lists, err) < 0)
		return -1;
	r->lists = pool_alloc(r->pool, (r->n_lists + 1) * sizeof(*r->lists));
	if (!r->lists)
		return out_of_memory(err);
	for (size_t i = 0; i < r->n_lists; i++) {
		if (get_list(r, &r->lists[i], err) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------------ values */

static int take_string(const struct reader *r, const struct option_spec *spec, uint64_t number,
		       void *values, struct err *err)
{
	const char *string = NULL;

	if (find_string(r, number, &string, err) < 0)
		return -1;
	if (string && option_check_text(spec, string, err) < 0)
		return bad(err, spec->name);
	option_put_string(spec, values, string);
	return 0;
}

static int take_list(const struct reader *r, const struct option_spec *spec, uint64_t number,
		     void *values, struct err *err)
{
	if (number > r->n_lists)
		return bad(err, "a list");
	const char *const *list = number ? r->lists[number - 1] : NULL;
	for (const char *const *element = list; element && *element; element++) {
		if (option_check_text(spec, *element, err) < 0)
			return bad(err, spec->name);
	}
	option_put_strings(spec, values, list);
	return 0;
}

static int take_value(const struct reader *r, const struct option_spec *spec, uint64_t number,
		      void *values, struct err *err)
{
	if (spec->type == OPTION_STRING)
		return take_string(r, spec, number, values, err);
	if (spec->type == OPTION_STRINGS)
		return take_list(r, spec, number, values, err);
	int64_t value = (int64_t)(number >> 1) ^ -(int64_t)(number & 1);
	if (!option_is_valid_number(spec, value))
		return bad(err, spec->name);
	option_put_number(spec, values, value);
	return 0;
}

/* values: the struct of the table. */
static int get_values(struct reader *r, const struct image_table *table, void *values,
		      struct err *err)
{
	size_t n = 0;

	if (get_count(r, &n, err) < 0)
		return -1;
	for (const struct option_spec *spec = table->table->rows; spec->name; spec++)
		option_copy(spec, values, table->defaults);
	for (size_t i = 0; i < n; i++) {
		uint64_t row = 0, number = 0;
		if (get_number(r, &row, err) < 0 || get_number(r, &number, err) < 0)
			return -1;
		if (row >= table->n_rows)
			return bad(err, "an option");
		if (table->rows[row] && take_value(r, table->rows[row], number, values, err) < 0)
			return -1;
	}
	for (const struct option_spec *spec = table->table->rows; spec->name; spec++) {
		if (spec->required && !option_is_set(spec, values))
			return bad(err, spec->name);
	}
	return 0;
}

/* ------------------------------------------------------------------ terms */

static int get_source(struct reader *r, struct source *source, struct err *err)
{
	uint64_t index = 0;

	if (get_number(r, &index, err) < 0)
		return -1;
	if (index < IMAGE_FIRST_TYPE || index >= r->n_tables)
		return bad(err, "a source");
	const struct image_table *table = &r->tables[index];
	void *values = pool_alloc(r->pool, table->table->size);
	if (!values)
		return out_of_memory(err);
	source->type = table->type;
	source->options = values;
	if (get_fingerprint(r, &source->fingerprint, err) < 0 ||
	    get_fingerprint(r, &source->refusal_fingerprint, err) < 0 ||
	    get_fingerprint(r, &source->legacy_fingerprint, err) < 0)
		return -1;
	return get_values(r, table, values, err);
}

/* before: the name of the previous term, or NULL. */
static int get_term(struct reader *r, struct term_config *term, const char *before, struct err *err)
{
	if (get_string(r, &term->name, err) < 0)
		return -1;
	if (name_check(term->name, err) < 0 || (before && strcmp(before, term->name) >= 0))
		return bad(err, "a name");
	if (get_values(r, &r->tables[IMAGE_TERM], term, err) < 0 ||
	    get_count(r, &term->n_sources, err) < 0)
		return -1;
	if (term->n_sources == 0)
		return bad(err, "a term without a source");
	term->sources = pool_alloc(r->pool, term->n_sources * sizeof(*term->sources));
	if (!term->sources)
		return out_of_memory(err);
	for (size_t i = 0; i < term->n_sources; i++) {
		if (get_source(r, &term->sources[i], err) < 0)
			return -1;
	}
	return 0;
}

static int get_config(struct reader *r, struct config *config, struct err *err)
{
	const char *before = NULL;
	size_t n = 0;

	if (get_tables(r, err) < 0 || get_lists(r, err) < 0 ||
	    get_values(r, &r->tables[IMAGE_ROOT], config, err) < 0 || get_count(r, &n, err) < 0)
		return -1;
	if (n && !(config->terms = pool_alloc(r->pool, n * sizeof(*config->terms))))
		return out_of_memory(err);
	for (size_t i = 0; i < n; i++) {
		if (get_term(r, &config->terms[i], before, err) < 0)
			return -1;
		before = config->terms[i].name;
	}
	config->n_terms = n;
	return r->next == r->end ? 0 : bad(err, "its length");
}

/* ------------------------------------------------------------------ the file */

bool config_image_is(int fd)
{
	char magic[sizeof(((struct image_header *)NULL)->magic)] = "";

	return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       memcmp(magic, IMAGE_MAGIC, sizeof(magic)) == 0;
}

/* An image up to this size is kept in memory. A larger one could use up RLIMIT_MEMLOCK, which keys
 * need. */
#define LOCK_MAX_BYTES (1024 * 1024)

/* The image contains passwords: they must be neither in a core dump nor swapped out. */
static void protect(void *image, size_t size)
{
	madvise(image, size, MADV_DONTDUMP);
	if (size <= LOCK_MAX_BYTES && mlock(image, size) < 0)
		log_event(LOG_LEVEL_DEBUG, "memory_not_locked", LOG_STR("error", strerror(errno)));
}

static int map(struct config *config, int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, "configuration in memory");
	if (st.st_size < (off_t)sizeof(struct image_header))
		return bad(err, "its length");
	void *image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED)
		return err_errno(err, "configuration in memory");
	protect(image, (size_t)st.st_size);
	config->image = image;
	config->image_size = (size_t)st.st_size;
	return 0;
}

static int read_header(const struct config *config, struct reader *r, struct err *err)
{
	struct image_header header;
	size_t rest = config->image_size - sizeof(header);

	memcpy(&header, config->image, sizeof(header));
	if (memcmp(header.magic, IMAGE_MAGIC, sizeof(header.magic)) != 0)
		return bad(err, "its beginning");
	if (header.version != IMAGE_VERSION)
		return err_set(err, ERR_BAD_DATA,
			       "the image of the configuration has version %u, not %u",
			       header.version, IMAGE_VERSION);
	if (header.strings_len > rest || header.records_len != rest - header.strings_len)
		return bad(err, "its length");
	r->strings = (const char *)config->image + sizeof(header);
	r->strings_len = header.strings_len;
	if (r->strings_len == 0 || r->strings[r->strings_len - 1] != '\0')
		return bad(err, "its strings");
	r->next = (const uint8_t *)r->strings + r->strings_len;
	r->end = r->next + header.records_len;
	return 0;
}

DEFINE_CLEANUP(struct config, config_free)

int config_image_read(struct config **ret, int fd, const struct source_type *const *types,
		      struct err *err)
{
	_cleanup_(config_free_cleanup) struct config *config = calloc(1, sizeof(*config));
	struct reader reader = { .types = types };

	if (!config || !(config->pool = reader.pool = pool_new()))
		return out_of_memory(err);
	if (map(config, fd, err) < 0 || read_header(config, &reader, err) < 0 ||
	    get_config(&reader, config, err) < 0)
		return -1;
	pool_close(config->pool);
	*ret = steal_ptr(&config);
	return 0;
}
