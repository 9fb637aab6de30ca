/*
 * config_parse: libconfuse, and nothing of it above.
 *
 * Turns the text of one file, which the sieve has been over, into raw blocks: names, values as
 * text, and lines. Terms are handed on one by one as they close (keeping them all in libconfuse
 * takes quadratic time), with their sources in the order of the file.
 */
#ifndef CONFIG_CONFIG_PARSE_H
#define CONFIG_CONFIG_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config_sieve.h"

struct raw_value {
	const struct option_spec *spec;
	char *text;
	unsigned line;
	bool is_first; /* not one more element of a list that began before */
};

struct raw_block {
	struct raw_value *values;
	size_t n_values;
	size_t n_allocated;
	unsigned line;
	bool is_incomplete; /* see struct block_note */
};

struct raw_source {
	const struct source_type *type;
	struct raw_block block;
};

/* All that is handed over is borrowed for the call. */
struct parse_handler {
	void (*root)(void *arg, const struct raw_block *block);
	void (*defaults)(void *arg, const struct raw_block *block);
	void (*term)(void *arg, const char *name, const struct raw_block *block,
		     const struct raw_source *sources, size_t n_sources);
	void (*include)(void *arg, const char *pattern, unsigned line);
	void *arg;
};

/* Calls the handler for each block as it closes, for the root's options at the end. libconfuse's
 * scanner is global, and so is what its callbacks find: one thread at a time, and no file while
 * another is being parsed. */
void config_parse(struct scanner *scanner, const struct schema *schema,
		  const struct sieve_notes *notes, const struct parse_handler *handler);

#endif
