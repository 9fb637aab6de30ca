/*
 * names: finds terms by what people call them, their name or their alias.
 *
 * Immutable once built. Where one term's alias is another's name, the name wins.
 */
#ifndef CONTROL_NAMES_H
#define CONTROL_NAMES_H

#include <stddef.h>

#include "base/err.h"
#include "base/util.h"
#include "term/term.h"

struct names;

/* terms (borrowed) are sorted by name. */
int names_new(struct names **ret, const struct term *terms, size_t n_terms, struct err *err);
void names_free(struct names *names);
DEFINE_CLEANUP(struct names, names_free)

/* The index of a term. ERR_NOT_FOUND; the message offers the nearest name if there is one. */
int names_find(const struct names *names, const char *text, size_t *ret, struct err *err);

#endif
