/*
 * term_index: finds a term by its name or its alias.
 *
 * Terms that the asker may not read are not found. Immutable once built. If one term's alias is
 * another term's name, the name wins.
 */
#ifndef CONTROL_TERM_INDEX_H
#define CONTROL_TERM_INDEX_H

#include <stddef.h>

#include "base/err.h"
#include "base/util.h"
#include "term/term.h"
#include "term/term_rights.h"

struct term_index;

/* terms must be sorted by name. Both are borrowed. */
int term_index_new(struct term_index **ret, struct term *terms, size_t n_terms,
		   const struct term_rights *rights, struct err *err);
void term_index_free(struct term_index *index);
DEFINE_CLEANUP(struct term_index, term_index_free)

/* *ret is the term's place in the array of terms. ERR_NOT_FOUND: the message suggests the nearest
 * name, if there is one. */
int term_index_find(const struct term_index *index, const struct term_access *access,
		    const char *text, size_t *ret, struct err *err);

#endif
