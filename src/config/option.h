/*
 * option: the rows that describe options, and the values that a configuration gives them.
 *
 * An option is one row of one table. Its values are kept in a plain struct, at the row's offset.
 * Everything else is derived from the row: parsing and checks, the default, --show-config, --help,
 * shell completion, the image for the worker, and which changes make a source another one. To add
 * an option, add the row and the field, and use it.
 *
 *	struct tea_options {
 *		const char *cup;
 *		int64_t brew_ms;
 *	};
 *	static const struct option_spec rows[] = {
 *		{ .name = "cup", .type = OPTION_STRING, OPTION_FIELD(tea_options, cup),
 *		  .role = OPTION_IDENTITY, .required = true, .help = "where it goes" },
 *		{ .name = "brew_time", .type = OPTION_DURATION, OPTION_FIELD(tea_options, brew_ms),
 *		  .role = OPTION_MANNER, .min = 1000, .default_text = "3m", .help = "how long" },
 *		{ .name = NULL },
 *	};
 *	static const struct option_table table = OPTION_TABLE(rows, tea_options);
 */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "config/pool.h"

/* The comments give the type of the field, and how values are written. */
enum option_type {
	OPTION_STRING,	 /* const char *; NULL: not set */
	OPTION_STRINGS,	 /* const char *const *, NULL-terminated; NULL: not set. { "a", "b" } */
	OPTION_BOOL,	 /* bool. true false yes no on off */
	OPTION_NUMBER,	 /* uint32_t. decimal */
	OPTION_WORD,	 /* an enum without gaps that begins at 0. One of the row's words */
	OPTION_DURATION, /* int64_t, ms. 250ms 30s 5m 12h 7d */
	OPTION_SIZE,	 /* uint64_t, bytes. 4096 64KiB 1MiB 1GiB 2TiB */
	OPTION_MODE,	 /* mode_t. octal, bits of 0555 */
	OPTION_USER,	 /* uid_t. a name or a number */
	OPTION_GROUP,	 /* gid_t. a name or a number */
};

/* The effect that changing an option of a source has on the data already in the store. */
enum option_role {
	OPTION_NO_ROLE,	 /* not an option of a source */
	OPTION_IDENTITY, /* says what is fetched: the source is another one */
	OPTION_JUDGE,	 /* says which bodies are accepted: only refusals are forgotten */
	OPTION_MANNER,	 /* says how it is fetched: nothing is forgotten */
};

/* The value of a duration that may be "never". */
#define OPTION_NEVER (-1)

/* The longest duration that can be written. */
#define OPTION_DURATION_MAX_MS (INT64_C(3650) * 86400 * 1000)

/* One row of a table. */
struct option_spec {
	const char *name;
	enum option_type type;
	enum option_role role;
	uint16_t offset, size;	  /* of the field; see OPTION_FIELD */
	const char *default_text; /* as written in a file; NULL: none */
	const char *help;	  /* one line */
	const char *const *words; /* OPTION_WORD: NULL-terminated, in the order of the enum */
	int64_t min, max;	  /* OPTION_NUMBER, _DURATION (ms), _SIZE; max 0: no limit */
	bool allows_never;	  /* OPTION_DURATION: "never" is OPTION_NEVER */
	bool required;
	bool secret; /* masked where a configuration is shown */
	/* OPTION_STRING: writes what of the text is shown, which is all of it and "?…" at most,
	 * into size bytes, and returns ret. NULL: all of it, or nothing of a secret. */
	const char *(*mask)(const char *text, char *ret, size_t size);
	bool names_file; /* OPTION_STRING: a path that the helper may open */
	bool one_term;	 /* must not be set for several terms at once */
	bool only_file;	 /* not for -o */
	/* OPTION_STRING, OPTION_STRINGS (each element): validates a text. ERR_CONFIG; the message
	 * does not contain the option's name. NULL: every text is valid. */
	int (*check)(const char *text, struct err *err);
	/* OPTION_STRINGS with OPTION_IDENTITY: returns whether this element is OPTION_MANNER. NULL:
	 * none is. */
	bool (*is_manner)(const char *element);
};

#define OPTION_FIELD(structure, field)               \
	.offset = offsetof(struct structure, field), \
	.size = sizeof(((struct structure *)NULL)->field)

/* At most this many rows in a table. */
#define OPTION_ROWS_MAX 64

struct option_table {
	const struct option_spec *rows; /* ends with a row whose name is NULL */
	size_t size;			/* of the struct with the values */
};

#define OPTION_TABLE(table_rows, structure)                            \
	{                                                              \
		.rows = (table_rows), .size = sizeof(struct structure) \
	}

/* The row of that name, or NULL. */
const struct option_spec *option_find(const struct option_table *table, const char *name);

/* Returns whether -o accepts it. */
static inline bool option_is_for_command_line(const struct option_spec *spec)
{
	return !spec->one_term && !spec->only_file;
}

/* ------------------------------------------------------------------ values of one row */

/* Each field at its row's offset in `values`. */
const char *option_string(const struct option_spec *spec, const void *values);
const char *const *option_strings(const struct option_spec *spec, const void *values);
/* The file that the option names; NULL: it names none. */
const char *option_file(const struct option_spec *spec, const void *values);
/* For every type except the two string types. */
int64_t option_number(const struct option_spec *spec, const void *values);
void option_put_string(const struct option_spec *spec, void *values, const char *string);
void option_put_strings(const struct option_spec *spec, void *values, const char *const *strings);
void option_put_number(const struct option_spec *spec, void *values, int64_t number);

/* Parses the whole text, and checks words and bounds. For every type except the two string types.
 * ERR_CONFIG; the message does not contain the option's name. */
int option_parse_number(const struct option_spec *spec, const char *text, int64_t *ret,
			struct err *err);

/* Returns whether option_parse_number() can return this number. */
bool option_is_valid_number(const struct option_spec *spec, int64_t number);

/* Writes a number as option_parse_number() reads it, in the largest unit that needs no fraction.
 * Returns ret. */
#define OPTION_TEXT_SIZE 32
const char *option_number_text(const struct option_spec *spec, int64_t number,
			       char ret[OPTION_TEXT_SIZE]);

/* Returns whether it has a value, its own or a default. */
bool option_is_set(const struct option_spec *spec, const void *values);

/* Writes a value that is set as it would be written in a file, with "***" in place of secrets. */
void option_show(const struct option_spec *spec, const void *values, FILE *out);

/* Writes a text in double quotes with escapes. */
void option_show_quoted(const char *text, FILE *out);

bool option_equal(const struct option_spec *spec, const void *a, const void *b);
void option_copy(const struct option_spec *spec, void *to, const void *from);

/* ------------------------------------------------------------------ combinations of options */

/* Takes the problems that a check finds. Whoever calls the check knows place and term. */
struct option_problems {
	void (*add)(struct option_problems *problems, const char *option, const char *other,
		    const char *text);
};

/* The problem is about `option`, and due to the value of `other`, too (NULL: it is not). If one of
 * the two has a problem already, this one is not reported: it would be the same mistake in other
 * words. */
void option_problem(struct option_problems *problems, const char *option, const char *other,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ------------------------------------------------------------------ the values of a block */

/* The options of one block while they are being set. */
struct options {
	const struct option_table *table;
	struct pool *pool;		    /* borrowed; values are allocated in it */
	void *values;			    /* borrowed: the table's struct */
	uint64_t given;			    /* bit i: row i was set */
	const char *texts[OPTION_ROWS_MAX]; /* as written; of given rows except lists */
};

/* The table's defaults as values, or NULL if out of memory. */
const void *options_defaults(const struct option_table *table, struct pool *pool);

/* Checks the text of an OPTION_STRING, or one element of an OPTION_STRINGS. ERR_CONFIG; the message
 * begins with the option's name. */
int option_check_text(const struct option_spec *spec, const char *text, struct err *err);

/* Begins a block. values: the table's struct; it becomes a copy of defaults, which come from
 * options_defaults(). */
void options_init(struct options *options, const struct option_table *table, void *values,
		  const void *defaults, struct pool *pool);

/* Sets an option from its texts: one, or, for OPTION_STRINGS, n, which are appended to the earlier
 * ones. ERR_CONFIG; the message begins with the option's name. */
int options_set_texts(struct options *options, const struct option_spec *spec,
		      const char *const *texts, size_t n, struct err *err);

/* By name, for options that are not read from a file. Unknown names are ERR_CONFIG. */
int options_set(struct options *options, const char *name, const char *text, struct err *err);

bool options_is_given(const struct options *options, const struct option_spec *spec);

#endif
