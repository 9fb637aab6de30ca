/*
 * option: tables of options and the values that a configuration gave them.
 *
 * A table describes what a block of the configuration may hold; the loader checks a block against
 * it and fills a struct options. Values are immutable afterwards.
 */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum option_type {
	OPTION_STRING,
	OPTION_BOOL,	 /* true false yes no on off */
	OPTION_INT,	 /* decimal, may be negative */
	OPTION_DURATION, /* 250ms 30s 5m 12h 7d */
	OPTION_SIZE,	 /* 4096 64KiB 1MiB 1GiB 2TiB */
	OPTION_STRINGS,	 /* { "a", "b" } */
	OPTION_CUSTOM,	 /* a number, from what the row's own parse() takes */
};

/* One row of a table; tables end with a row whose name is NULL. */
struct option_spec {
	const char *name;
	enum option_type type;
	bool required;
	bool secret;		  /* masked wherever a configuration is shown */
	bool names_file;	  /* OPTION_STRING: a path that the helper may open */
	const char *default_text; /* as it would be written in the file; NULL for none */
	const char *help;	  /* one line, for --help and the manual */

	/* Of OPTION_CUSTOM only: parses the whole text. Errors are ERR_CONFIG and say what was
	 * expected. */
	int (*parse)(const char *text, int64_t *ret, struct err *err);
};

/* The largest duration that can be written. */
#define OPTION_DURATION_MAX_MS (INT64_C(3650) * 86400 * 1000)

/* Each parses the whole text. Errors are ERR_CONFIG and say what was expected. */
int option_parse_bool(const char *text, bool *ret, struct err *err);
int option_parse_int(const char *text, int64_t *ret, struct err *err);
int option_parse_duration(const char *text, int64_t *ret_ms, struct err *err);
int option_parse_size(const char *text, uint64_t *ret_bytes, struct err *err);

/* The row of that name, or NULL. */
const struct option_spec *option_find(const struct option_spec *table, const char *name);

/* For "did you mean": the name in the table that is nearest, or NULL if none is close. */
const char *option_nearest(const struct option_spec *table, const char *name);

struct options;

int options_new(struct options **ret, const struct option_spec *table, struct err *err);
void options_free(struct options *options);

/* Sets one value from its text, over an earlier one (for OPTION_STRINGS: appends one element).
 * ERR_CONFIG when the table has no such option, or the text is not of its type. */
int options_set(struct options *options, const char *name, const char *text, struct err *err);

/* Checks that every required option is set. ERR_CONFIG names the first that is not. */
int options_check(const struct options *options, struct err *err);

/* Was it given (a default does not count)? */
bool options_is_set(const struct options *options, const char *name);

/*
 * The value, or the default of the table. Asking for a name that the table does not have, or with
 * another type, is a mistake in the program and is asserted. A string without value or default is
 * NULL, a list then has zero elements, a number is 0, a bool false. Results live as long as
 * options.
 */
const char *options_string(const struct options *options, const char *name);
bool options_bool(const struct options *options, const char *name);
int64_t options_int(const struct options *options, const char *name); /* OPTION_CUSTOM too */
int64_t options_duration_ms(const struct options *options, const char *name);
uint64_t options_size_bytes(const struct options *options, const char *name);
/* NULL-terminated; ret_n may be NULL. */
const char *const *options_strings(const struct options *options, const char *name, size_t *ret_n);

/* The value of any option but OPTION_STRINGS as it would be written in the file; NULL for none. */
const char *options_text(const struct options *options, const char *name);

const struct option_spec *options_table(const struct options *options);

/* A number that changes when an option changes that is not secret: tells a source apart from what
 * the same term had in an earlier configuration. kind is the fetcher's name. */
int options_fingerprint(const struct options *options, const char *kind, uint64_t *ret,
			struct err *err);

#endif
