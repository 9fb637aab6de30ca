/*
 * config_sieve: takes out of a file what libconfuse could only fail on.
 *
 * libconfuse ends at the first option that it does not know. The sieve walks over the tokens
 * first, says what is unknown or has the wrong shape (a block where an option is expected, a list
 * where one value is), and makes it blank, so that the rest is parsed and checked all the same. At
 * a syntax error it cuts the text off before the top-level block or option that has it.
 */
#ifndef CONFIG_CONFIG_SIEVE_H
#define CONFIG_CONFIG_SIEVE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config_scan.h"
#include "config/source.h"

/* What may stand in a file. */
struct schema {
	const struct option_spec *root;
	const struct option_spec *term; /* in terms and in defaults */
	const struct source_type *const *types;
};

/* A block that was left in the text; libconfuse does not tell the line on which one begins. */
struct block_note {
	unsigned line;
	bool is_incomplete; /* something was taken out: do not complain that it is missing */
};

/* What is known of the text that was left. */
struct sieve_notes {
	struct block_note *blocks; /* owned; in the order in which the blocks close */
	size_t n_blocks;
	size_t n_allocated;
	const void **used; /* owned; specs and types that the text has, each once */
	size_t n_used;
};

void sieve_notes_release(struct sieve_notes *notes);
/* what: a spec or a type. */
bool sieve_notes_has(const struct sieve_notes *notes, const void *what);

void config_sieve(struct scanner *scanner, const struct schema *schema, struct sieve_notes *notes);

#endif
