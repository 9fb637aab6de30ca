/*
 * update: brings a term up to date.
 *
 * An update asks the term's sources in order of preference, one attempt each, until one gives an
 * answer that may be taken. It publishes what is new. The caller then plans the next update, and
 * concludes this one:
 *
 *	update_run(&update, memory, term, env, &place);
 *	if (update.outcome != UPDATE_CANCELED)
 *		update_conclude(&update, next_in_ms, next_at_ms);
 */
#ifndef FETCH_UPDATE_H
#define FETCH_UPDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/attempt.h"
#include "fetch/fetch_env.h"
#include "fetch/source_failures.h"
#include "fetch/term_memory.h"
#include "term/term.h"

enum update_outcome { UPDATE_UPDATED, UPDATE_UNCHANGED, UPDATE_FAILED, UPDATE_CANCELED };

/* "updated", "unchanged", "failed", "canceled" */
const char *update_outcome_name(enum update_outcome outcome);

struct update {
	enum update_outcome outcome;
	/* The next update is planned from these. */
	struct update_advice advice;
	enum err_kind plan_kind; /* of a failure: the one that passes soonest */
	struct err err;		 /* of a failure */

	bool is_forced;

	/* For the conclusion. */
	struct term *term;	    /* borrowed */
	struct term_memory *memory; /* borrowed */
	struct store *store;	    /* borrowed */
	int64_t began_ms;	    /* clock_boot_ms() */
	enum term_state before;
	size_t source;		    /* the one that answered */
	char version[VERSION_SIZE]; /* for messages: what it calls its bytes */
	uint64_t bytes;		    /* of the current snapshot */
	struct source_failures failures;
	bool is_removed; /* on_delete = remove took the name away */
};

/* Blocks. is_forced: asks the sources without condition. place: at the origin of the first source;
 * it is given back. */
void update_run(struct update *ret, struct term_memory *memory, struct term *term, bool is_forced,
		const struct fetch_env *env, struct origin_place *place);

/* Records the outcome in the term, and logs one line if something has changed or failed. The next
 * update begins in next_in_ms (RETRY_NEVER: none), which is at next_at_ms (clock_boot_ms(), or
 * TERM_NO_TIME). */
void update_conclude(struct update *update, int64_t next_in_ms, int64_t next_at_ms);

#endif
