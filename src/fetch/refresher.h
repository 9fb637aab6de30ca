/*
 * refresher: decides when each term is asked for next, and has it done.
 *
 * A heap of due terms, one timer a term, and update threads that grow on demand. What a hanging
 * source can hold up is bounded: its own term, and at most a quarter of the threads for one origin.
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

#define REFRESHER_THREADS_MAX	     256
#define REFRESHER_THREADS_PER_ORIGIN (REFRESHER_THREADS_MAX / 4)

struct refresher;

struct refresher_setup {
	struct term *terms; /* borrowed; sorted by name */
	/* For each term what the store has; borrowed for refresher_new() only. */
	const char *const *tokens;
	const uint64_t *fingerprints;
	size_t n_terms;
	struct update_env env; /* origin_* are filled in by the refresher */
};

int refresher_new(struct refresher **ret, const struct refresher_setup *setup, struct err *err);

/* Starts the threads: the first attempts follow DESIGN section 5 ("Retry"). */
int refresher_start(struct refresher *refresher, struct err *err);

/* After env.cancel was requested: returns when no thread is left. */
void refresher_stop(struct refresher *refresher);
void refresher_free(struct refresher *refresher);

/* Waits until each eager term has a snapshot (that came from one of its sources) or has had its
 * first attempt, until deadline (clock_boot_ms()), or until cancellation. Returns how many terms
 * are still being waited for. */
size_t refresher_wait_first(struct refresher *refresher, int64_t deadline_ms);

/* Asks for an attempt that begins after this call, now, whatever the back-off says. Returns a
 * ticket for refresher_wait(). */
uint64_t refresher_request(struct refresher *refresher, size_t term);

/* Waits for that attempt's end, for cancellation (UPDATE_CANCELED), or until deadline
 * (clock_boot_ms()): false, and *ret is left alone, if the attempt was not over by then. */
bool refresher_wait(struct refresher *refresher, size_t term, uint64_t ticket, int64_t deadline_ms,
		    enum update_outcome *ret);

/* Update threads that exist, for metrics. */
size_t refresher_threads(struct refresher *refresher);

#endif
