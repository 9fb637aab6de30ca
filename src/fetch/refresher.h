/*
 * refresher: updates each term when it is due.
 *
 * A scheduler takes due terms from the plan, and update threads, which grow on demand, run the
 * updates. A hanging source delays only its own term; see fetch/origin_places.h for what origins
 * share.
 */
#ifndef FETCH_REFRESHER_H
#define FETCH_REFRESHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/err.h"
#include "fetch/update.h"
#include "store/store.h"
#include "term/term.h"

/* One for each place at an origin, one for each update that has given its place back to store what
 * it got, and some for updates that ask a fallback without an origin. */
#define REFRESHER_THREADS_MAX (ORIGIN_PLACES_MAX + ORIGIN_STORING_MAX + 64)

struct refresher;

struct refresher_setup {
	struct term *terms; /* borrowed; sorted by name */
	/* The store's record of each term; borrowed during refresher_new() only. */
	const char *const *tokens;
	const uint64_t *fingerprints;
	size_t n_terms;
	struct fetch_env env; /* without places */
};

int refresher_new(struct refresher **ret, const struct refresher_setup *setup, struct err *err);

/* Starts the threads. retry_first() says when the first updates are. */
int refresher_start(struct refresher *refresher, struct err *err);

/* After env.cancel was requested: returns when no thread is left. */
void refresher_stop(struct refresher *refresher);
void refresher_free(struct refresher *refresher);

/* Waits until each eager term has a snapshot that came from one of its sources, or has had its
 * first update; or until deadline_ms (clock_boot_ms()), or cancellation. Returns how many terms are
 * still missing. */
size_t refresher_wait_first(struct refresher *refresher, int64_t deadline_ms);

/* Asks for an update that begins after this call, now, whatever the back-off says. Returns a ticket
 * for refresher_wait(). */
uint64_t refresher_request(struct refresher *refresher, size_t term);

/* The same, but the sources are asked without condition: they send their bytes, whatever token they
 * gave before. */
uint64_t refresher_force(struct refresher *refresher, size_t term);

/* Waits for the end of that update, or for cancellation (UPDATE_CANCELED). Returns false, and
 * leaves *ret alone, if it has not ended by deadline_ms (clock_boot_ms()). */
bool refresher_wait(struct refresher *refresher, size_t term, uint64_t ticket, int64_t deadline_ms,
		    enum update_outcome *ret);

/* Update threads that exist, for metrics; also before the start. */
size_t refresher_threads(struct refresher *refresher);

#endif
