/*
 * source_failures: what the sources of one attempt said, put together to one error.
 *
 * The text names each source that failed and why, in a bounded way. The kind is the authority's
 * (the first source's); for planning the next attempt a passing failure of any source counts more.
 */
#ifndef FETCH_SOURCE_FAILURES_H
#define FETCH_SOURCE_FAILURES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct source_failures {
	unsigned n;
	enum err_kind first_kind;
	enum err_kind plan_kind;
	bool authority_has_none; /* the first source says that there is no such thing, … */
	bool others_differ;	 /* … and another one has something to say about it */
	char text[ERR_MSG_SIZE];
};

/* source_name: how people write it. n_sources: how many share the room for the text. */
void source_failures_add(struct source_failures *failures, const char *source_name,
			 size_t n_sources, const struct err *err);

/* Sets the one error. At least one failure was added. */
int source_failures_set(const struct source_failures *failures, struct err *err);

/* Does nobody who answered have the term, the authority included? */
bool source_failures_mean_gone(const struct source_failures *failures);

#endif
