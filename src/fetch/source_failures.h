/*
 * source_failures: the failures of the attempts of one update, as one error.
 *
 * The text names each source that failed, and why, in bounded space. The kind is that of the first
 * source, the authority. The next update is planned by the first passing failure, if there is one.
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
	bool authority_has_none; /* the first source says that it does not have the term */
	bool others_differ;	 /* a fallback has answered something else */
	char text[ERR_MSG_SIZE];
};

/* source_name: for messages. n_sources: how many sources share the space of the text. */
void source_failures_add(struct source_failures *failures, const char *source_name,
			 size_t n_sources, const struct err *err);

/* Sets *err to the one error. At least one failure was added. */
int source_failures_set(const struct source_failures *failures, struct err *err);

/* Whether the authority, and each other source that has answered, does not have the term. */
bool source_failures_mean_gone(const struct source_failures *failures);

#endif
