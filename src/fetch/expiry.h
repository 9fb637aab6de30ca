/*
 * expiry: expires terms that no source has confirmed for max_stale.
 *
 * One thread with a heap of its own, so that neither a hanging source nor a full pool of update
 * threads delays it. It is not notified of successes: when a term is due, it reads the time of the
 * last confirmation, and plans the term again. If an expired term hides its name, the thread
 * publishes that. An update that publishes meanwhile waits for it, so that an earlier decision
 * cannot hide what was just fetched. Time is CLOCK_BOOTTIME: terms expire while the machine sleeps.
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
	/* See fetch_env.publish. */
	int (*publish)(void *arg, struct term *term, struct snapshot *snapshot, struct err *err);
	void *publish_arg;
};

/* Starts the thread. *ret is NULL if no term has max_stale; the functions below accept that. */
int expiry_new(struct expiry **ret, const struct expiry_setup *setup, struct err *err);

/* Call this after term_confirm() and before anything is published for the term. Waits while the
 * term is being hidden. */
void expiry_yield(struct expiry *expiry, const struct term *term);

/* After cancellation. */
void expiry_free(struct expiry *expiry);

#endif
