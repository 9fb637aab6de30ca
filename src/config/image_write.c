#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "config/image.h"
#include "config/image_format.h"

/* The pool has one copy of equal strings. Most strings that recur do so within a few terms. */
#define RECENT 4096

struct buffer {
	char *data; /* owned */
	size_t len, size;
};

struct recent {
	const void *pointer;
	uint64_t number;
};

struct writer {
	const struct config *config;
	struct buffer strings, records, lists;
	uint64_t n_lists;
	struct recent recent[RECENT];
	const struct option_table **tables; /* owned; those of the image */
	const void **defaults;		    /* owned; of each table */
	size_t n_tables;
	struct pool *pool; /* owned; of the defaults */
	bool has_failed;   /* out of memory */
};

static void writer_release(struct writer *w)
{
	free(w->strings.data);
	free(w->records.data);
	free(w->lists.data);
	free(w->tables);
	free(w->defaults);
	pool_free(w->pool);
}

static void put(struct writer *w, struct buffer *buffer, const void *bytes, size_t len)
{
	if (len > buffer->size - buffer->len) {
		size_t size = 2 * (buffer->len + len) + 4096;
		char *data = realloc(buffer->data, size);
		if (!data) {
			w->has_failed = true;
			return;
		}
		buffer->data = data;
		buffer->size = size;
	}
	memcpy(buffer->data + buffer->len, bytes, len);
	buffer->len += len;
}

static void put_number(struct writer *w, struct buffer *buffer, uint64_t number)
{
	uint8_t bytes[10];
	size_t n = 0;

	do {
		bytes[n++] = (uint8_t)((number & 0x7f) | (number > 0x7f ? 0x80 : 0));
		number >>= 7;
	} while (number);
	put(w, buffer, bytes, n);
}

static struct recent *recent_of(struct writer *w, const void *pointer)
{
	uint64_t hash = (uint64_t)(uintptr_t)pointer * UINT64_C(0x9e3779b97f4a7c15);

	return &w->recent[hash >> 52];
}

static uint64_t string_number(struct writer *w, const char *string)
{
	struct recent *recent = recent_of(w, string);

	if (!string)
		return 0;
	if (recent->pointer != string) {
		*recent = (struct recent){ string, w->strings.len + 1 };
		put(w, &w->strings, string, strlen(string) + 1);
	}
	return recent->number;
}

static uint64_t list_number(struct writer *w, const char *const *list)
{
	struct recent *recent = recent_of(w, list);
	size_t n = 0;

	if (!list)
		return 0;
	if (recent->pointer == list)
		return recent->number;
	while (list[n])
		n++;
	put_number(w, &w->lists, n);
	for (size_t i = 0; i < n; i++)
		put_number(w, &w->lists, string_number(w, list[i]));
	*recent_of(w, list) = (struct recent){ list, ++w->n_lists };
	return w->n_lists;
}

static uint64_t value_number(struct writer *w, const struct option_spec *spec, const void *values)
{
	if (spec->type == OPTION_STRING)
		return string_number(w, option_string(spec, values));
	if (spec->type == OPTION_STRINGS)
		return list_number(w, option_strings(spec, values));
	int64_t number = option_number(spec, values);
	return ((uint64_t)number << 1) ^ (uint64_t)(number >> 63);
}

static void put_values(struct writer *w, size_t table, const void *values)
{
	const struct option_spec *rows = w->tables[table]->rows;
	const void *defaults = w->defaults[table];
	size_t n = 0;

	for (size_t i = 0; rows[i].name; i++)
		n += !option_equal(&rows[i], values, defaults);
	put_number(w, &w->records, n);
	for (size_t i = 0; rows[i].name; i++) {
		if (option_equal(&rows[i], values, defaults))
			continue;
		put_number(w, &w->records, i);
		put_number(w, &w->records, value_number(w, &rows[i], values));
	}
}

/* ------------------------------------------------------------------ tables */

/* Returns its index. */
static size_t add_table(struct writer *w, const struct option_table *table)
{
	for (size_t i = 0; i < w->n_tables; i++) {
		if (w->tables[i] == table)
			return i;
	}
	const struct option_table **tables = reallocarray(w->tables, w->n_tables + 1,
							  sizeof(*tables));
	w->tables = tables ? tables : w->tables;
	const void **defaults = reallocarray(w->defaults, w->n_tables + 1, sizeof(*defaults));
	w->defaults = defaults ? defaults : w->defaults;
	const void *values = options_defaults(table, w->pool);
	if (!tables || !defaults || !values) {
		w->has_failed = true;
		return 0;
	}
	tables[w->n_tables] = table;
	defaults[w->n_tables] = values;
	return w->n_tables++;
}

static void put_table(struct writer *w, struct buffer *buffer, const char *name,
		      const struct option_table *table)
{
	size_t n = 0;

	while (table->rows[n].name)
		n++;
	put_number(w, buffer, string_number(w, name));
	put_number(w, buffer, n);
	for (size_t i = 0; i < n; i++) {
		put_number(w, buffer, string_number(w, table->rows[i].name));
		put_number(w, buffer, table->rows[i].type);
	}
}

/* ------------------------------------------------------------------ terms */

static void put_fingerprint(struct writer *w, uint64_t fingerprint)
{
	put(w, &w->records, &fingerprint, sizeof(fingerprint));
}

static void put_source(struct writer *w, const struct source *source)
{
	size_t table = add_table(w, source->type->options);

	if (w->has_failed)
		return;
	put_number(w, &w->records, table);
	put_fingerprint(w, source->fingerprint);
	put_fingerprint(w, source->refusal_fingerprint);
	put_fingerprint(w, source->legacy_fingerprint);
	put_values(w, table, source->options);
}

static void put_config(struct writer *w)
{
	const struct config *config = w->config;

	put_values(w, IMAGE_ROOT, config);
	put_number(w, &w->records, config->n_terms);
	for (size_t i = 0; i < config->n_terms && !w->has_failed; i++) {
		const struct term_config *term = &config->terms[i];
		put_number(w, &w->records, string_number(w, term->name));
		put_values(w, IMAGE_TERM, term);
		put_number(w, &w->records, term->n_sources);
		for (size_t j = 0; j < term->n_sources; j++)
			put_source(w, &term->sources[j]);
	}
}

/* The name of the type that has this table. */
static const char *name_of(const struct config *config, const struct option_table *table)
{
	for (size_t i = 0; i < config->n_terms; i++) {
		for (size_t j = 0; j < config->terms[i].n_sources; j++) {
			const struct source_type *type = config->terms[i].sources[j].type;
			if (type->options == table)
				return type->name;
		}
	}
	return "";
}

/* Everything before the records of the values. */
static void put_head(struct writer *w, struct buffer *head)
{
	put_number(w, head, w->n_tables);
	put_table(w, head, "root", w->tables[IMAGE_ROOT]);
	put_table(w, head, "term", w->tables[IMAGE_TERM]);
	for (size_t i = IMAGE_FIRST_TYPE; i < w->n_tables; i++)
		put_table(w, head, name_of(w->config, w->tables[i]), w->tables[i]);
	put_number(w, head, w->n_lists);
	if (w->lists.len)
		put(w, head, w->lists.data, w->lists.len);
}

static int write_all(int fd, const struct buffer *buffer, struct err *err)
{
	for (size_t done = 0; done < buffer->len;) {
		ssize_t n = write(fd, buffer->data + done, buffer->len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "configuration in memory");
		done += (size_t)n;
	}
	return 0;
}

static void buffer_release(struct buffer *buffer)
{
	free(buffer->data);
}

int config_image_write(const struct config *config, int fd, struct err *err)
{
	_cleanup_(writer_release) struct writer writer = { .config = config, .pool = pool_new() };
	_cleanup_(buffer_release) struct buffer head = { 0 };
	struct image_header header = { .magic = IMAGE_MAGIC, .version = IMAGE_VERSION };

	if (!writer.pool)
		return err_set(err, ERR_INTERNAL, "configuration in memory: out of memory");
	add_table(&writer, &config_root_table);
	add_table(&writer, &config_term_table);
	if (!writer.has_failed) {
		put_config(&writer);
		put_head(&writer, &head);
	}
	if (writer.has_failed)
		return err_set(err, ERR_INTERNAL, "configuration in memory: out of memory");
	if (writer.strings.len > UINT32_MAX)
		return err_set(err, ERR_CONFIG, "configuration in memory: more than 4 GiB of text");
	header.strings_len = (uint32_t)writer.strings.len;
	header.records_len = head.len + writer.records.len;
	if (write_all(fd, &(struct buffer){ (char *)&header, sizeof(header), 0 }, err) < 0 ||
	    write_all(fd, &writer.strings, err) < 0 || write_all(fd, &head, err) < 0)
		return -1;
	return write_all(fd, &writer.records, err);
}
