/*
 * update_plan: when each term's next update is due, and how far the one before has got.
 *
 * The life of a term here:
 *
 *	IDLE ──(due)──► WAITING ──(a place at the origin, a thread)──► RUNNING ──► IDLE
 *	 in the heap,     update_plan_take_due()                 update_plan_begin(), …_end()
 *	 or not planned
 *
 * The functions may be called from any thread; `index` is the term's in the array. A timerfd fires
 * when the first term is due. The time of the next update is shown in the term's status.
 */
#ifndef FETCH_UPDATE_PLAN_H
#define FETCH_UPDATE_PLAN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/due_heap.h"
#include "fetch/update.h"
#include "term/term.h"

struct planned {
	struct due_item due;
	uint64_t begun;	   /* updates; all of them have ended, but for one that runs */
	unsigned failures; /* in a row, as far as back-off counts them */
	uint8_t phase;
	uint8_t outcome;     /* enum update_outcome, of the last one that ended */
	bool is_asked_again; /* another update follows the one that runs */
	bool is_forced;	     /* the next one asks without condition */
	bool is_awaited;     /* update_plan_wait_first() waits for it */
	bool is_unreachable; /* the last update reached no source, and got no Retry-After */
};

struct update_plan {
	struct term *terms; /* borrowed */
	size_t n_terms;
	int timer; /* owned; readable when update_plan_take_due() has something */

	pthread_mutex_t lock;
	pthread_cond_t progress; /* an update has ended, or all do */
	struct planned *planned; /* owned; guarded by lock, with its elements */
	struct due_heap due;	 /* guarded by lock */
	int64_t armed_ms;	 /* guarded by lock; when the timer fires; INT64_MAX: never */
	uint64_t random;	 /* guarded by lock */
	size_t n_awaited;	 /* guarded by lock */
	bool is_stopping;	 /* guarded by lock */
};

int update_plan_init(struct update_plan *plan, struct term *terms, size_t n_terms, struct err *err);
/* After update_plan_init(), even if that failed. */
void update_plan_release(struct update_plan *plan);

/* Plans the first update, delay_ms from now or RETRY_NEVER, unless one was requested already. */
void update_plan_first(struct update_plan *plan, size_t index, int64_t delay_ms, bool is_awaited);

/* Takes a term that is due and makes it WAITING. False: none is due; the timer is set. */
bool update_plan_take_due(struct update_plan *plan, size_t *ret_index);

/* The update begins. Returns whether it was forced. */
bool update_plan_begin(struct update_plan *plan, size_t index);

/* Its outcome, before the next one can be planned: a failure returns how many there were in a row,
 * as far as back-off counts them, and 64 random bits. */
void update_plan_succeeded(struct update_plan *plan, size_t index);
unsigned update_plan_failed(struct update_plan *plan, size_t index, bool is_unreachable,
			    uint64_t *ret_random);

/* The update has ended. next_at_ms: clock_boot_ms(), or TERM_NO_TIME. */
void update_plan_end(struct update_plan *plan, size_t index, enum update_outcome outcome,
		     int64_t next_at_ms);

/* See refresher_request(), and refresher_force() for is_forced. Returns a ticket for
 * update_plan_wait(). */
uint64_t update_plan_request(struct update_plan *plan, size_t index, bool is_forced);

/* See refresher_wait() and refresher_wait_first(). */
bool update_plan_wait(struct update_plan *plan, size_t index, uint64_t ticket, int64_t deadline_ms,
		      enum update_outcome *ret);
size_t update_plan_wait_first(struct update_plan *plan, int64_t deadline_ms);

/* Ends all waiting. */
void update_plan_stop(struct update_plan *plan);

/* Call when the network is back: plans an update, within window_ms or the term's interval, for each
 * term whose last update reached no source, and resets its back-off. Returns their number. */
size_t update_plan_retry_unreachable(struct update_plan *plan, int64_t window_ms);

/* After the machine has slept: spreads the updates that are long overdue. */
void update_plan_spread_overdue(struct update_plan *plan);

#endif
