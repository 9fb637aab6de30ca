/*
 * update: one attempt to bring a term up to date.
 *
 * Asks the term's sources in order of preference, takes the first answer that may be taken (the
 * forward-only rule: DESIGN "Failover"), writes it to the store and hands it to the publisher.
 */
#ifndef FETCH_UPDATE_H
#define FETCH_UPDATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/err.h"
#include "fetch/fetcher.h"
#include "store/store.h"
#include "term/term.h"

enum update_outcome { UPDATE_UPDATED, UPDATE_UNCHANGED, UPDATE_FAILED, UPDATE_CANCELED };

/* "updated", "unchanged", "failed", "canceled" */
const char *update_outcome_name(enum update_outcome outcome);

/* What all updates of a worker share. */
struct update_env {
	struct store *store;
	struct http *http;
	struct helper *helper; /* for fetchers; NULL: none */
	struct cancel *cancel;

	/* Makes the snapshot (takes the reference; NULL: none, the name goes away) what the term's
	 * name points to, and returns when every new look-up sees it. Called from update threads.
	 */
	void (*publish)(void *arg, struct term *term, struct snapshot *snapshot);
	void *publish_arg;

	/* May one more update wait for this origin? enter() returns false if too many do; each
	 * true is followed by leave(). origin is never NULL. The first source's origin is entered
	 * by whoever calls update_run(), which leaves it as soon as that source has answered. */
	bool (*origin_enter)(void *arg, const char *origin);
	void (*origin_leave)(void *arg, const char *origin);
	void *origin_arg;
};

/* What is remembered of a term between its updates; used by one thread at a time. */
struct update_state;

/* fingerprint and token: what the store has with the term's snapshot. */
int update_state_new(struct update_state **ret, const struct term_config *config, const char *token,
		     uint64_t fingerprint, struct err *err);
/* Remembers a token of the term that the store has as refused. It is younger than the token of the
 * snapshot: the next good one would have replaced it. */
void update_state_refuse(struct update_state *state, const struct store_refusal *refusal);
void update_state_free(struct update_state *state);

/* True if the snapshot that the store had came from none of the sources that are configured now:
 * the term should be asked for at once. */
bool update_is_stranger(const struct update_state *state);

/* When the next attempt may be, as the outcome alone says. */
struct update_advice {
	int64_t fresh_for_ms;	/* from a source, or FETCHED_UNKNOWN */
	int64_t retry_after_ms; /* from a source, or FETCHED_UNKNOWN */
	int64_t confirm_in_ms;	/* backwards = confirm wants an answer again; or FETCHED_UNKNOWN */
};

/*
 * Runs one attempt to its end: publishes, sets the term's status, and logs one line if anything
 * changed or failed. The caller logs nothing and plans the next attempt from outcome, err->kind and
 * advice; next_in_ms() is asked for it before the line is logged, so that the line can name it.
 */
enum update_outcome update_run(struct update_state *state, struct term *term,
			       const struct update_env *env,
			       int64_t (*next_in_ms)(void *arg, enum update_outcome outcome,
						     enum err_kind kind,
						     const struct update_advice *advice),
			       void *next_arg, struct err *err);

#endif
