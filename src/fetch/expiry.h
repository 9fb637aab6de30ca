/*
 * expiry: notices, on time, that nobody has confirmed a term for max_stale.
 *
 * One thread with a heap of its own, so that neither a source that hangs nor a full pool of update
 * threads can put it off. Nobody tells it of successes: it looks again when the term, as it stood,
 * would have been due. Where the name is to be hidden, the thread has it taken away, and an update
 * that publishes meanwhile waits for that: what was just fetched cannot be hidden by an expiry that
 * was decided before. CLOCK_BOOTTIME counts: a machine that wakes up finds its terms expired.
 */
#ifndef FETCH_EXPIRY_H
#define FETCH_EXPIRY_H

#include <stddef.h>

#include "base/cancel.h"
#include "base/err.h"
#include "term/term.h"

struct expiry;

struct expiry_setup {
	struct term *terms; /* borrowed */
	size_t n_terms;
	struct cancel *cancel; /* borrowed */
	/* As fetch_env.publish. */
	int (*publish)(void *arg, struct term *term, struct snapshot *snapshot, struct err *err);
	void *publish_arg;
};

/* *ret is NULL if no term has max_stale; the functions below take that. Starts the thread. */
int expiry_new(struct expiry **ret, const struct expiry_setup *setup, struct err *err);

/* Before anything is published for a term, after term_confirm(): returns when it is not just being
 * hidden. */
void expiry_yield(struct expiry *expiry, const struct term *term);

/* After cancellation. */
void expiry_free(struct expiry *expiry);

#endif
