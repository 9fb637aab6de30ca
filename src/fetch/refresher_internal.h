/*
 * refresher_internal: what the files of refresher share.
 *
 * refresher.c plans attempts and has them done; refresher_wake.c has terms asked sooner, or later,
 * than planned because something happened in the world.
 */
#ifndef FETCH_REFRESHER_INTERNAL_H
#define FETCH_REFRESHER_INTERNAL_H

#include <pthread.h>

#include "fetch/due_heap.h"
#include "fetch/expiry.h"
#include "fetch/network.h"
#include "fetch/origin_places.h"
#include "fetch/thread_pool.h"
#include "fetch/refresher.h"
#include "fetch/watch.h"

/*
 * The life of a term here:
 *
 *	IDLE ──(due)──► WAITING ──(a place at the origin, a thread)──► RUNNING ──► IDLE
 *	 in the heap,     in its origin's queue or the pool's            in update_run()
 *	 or not planned
 */
enum phase { PHASE_IDLE, PHASE_WAITING, PHASE_RUNNING };

struct entry {
	struct update_state *state; /* owned; used by the attempt that runs */
	struct origin *origin;	    /* of the first source; NULL: none */
	struct thread_pool_job job;
	struct origin_waiter waiter;
	struct due_item due; /* guarded by lock */
	uint32_t share;
	unsigned failures;	     /* guarded by lock; in a row, as far as back-off counts them */
	uint64_t begun;		     /* guarded by lock; attempts */
	uint64_t ended;		     /* guarded by lock; attempts, the last with `outcome` */
	enum update_outcome outcome; /* guarded by lock */
	enum phase phase;	     /* guarded by lock */
	bool is_asked_again;	     /* guarded by lock; another attempt after the one that runs */
	bool is_awaited;	     /* guarded by lock; refresher_wait_first() waits for it */
	bool is_unreachable; /* guarded by lock; so the last attempt failed, and nobody said when */
	bool is_watched;
};

struct wake_state {
	int64_t network_at_ms;	 /* when to act on what was heard of the network; INT64_MAX: nothing
				  */
	int64_t network_last_ms; /* when that was done last */
	int64_t network_gap_ms;	 /* how long it is not done again after that */
};

struct refresher {
	struct term *terms; /* borrowed */
	size_t n_terms;
	struct update_env env;
	struct entry *entries;	  /* owned; one a term */
	struct origins *origins;  /* owned */
	struct thread_pool *pool; /* owned */
	struct watch *watch;	  /* owned; NULL: nothing is watched */
	struct expiry *expiry;	  /* owned; NULL: nothing expires */
	struct network *network;  /* owned, the scheduler's; NULL: it is not heard of */
	struct wake_state wake;	  /* the scheduler's */
	void (*publish)(void *arg, struct term *term, struct snapshot *snapshot);
	void *publish_arg;
	int timer; /* owned; a timerfd, set to when the first term is due */
	pthread_t scheduler;
	bool is_started;

	pthread_mutex_t lock;
	pthread_cond_t progress; /* an attempt has ended, or all do */
	struct due_heap due;	 /* guarded by lock */
	int64_t armed_ms;	 /* guarded by lock; what the timer is set to; INT64_MAX: nothing */
	uint64_t random;	 /* guarded by lock */
	size_t n_awaited;	 /* guarded by lock */
	bool is_stopping;	 /* guarded by lock */
};

/* Both with the lock held: sets the timer, whenever the heap has changed; 64 random bits. */
void refresher_arm(struct refresher *refresher);
uint64_t refresher_random(struct refresher *refresher);

/* refresher_wake.c; all but the first are the scheduler's. */

/* Watches the files of sources that are files. */
int refresher_start_watch(struct refresher *refresher, struct err *err);

void refresher_start_network(struct refresher *refresher);
/* What there is to read was read; when to come back without more of it, for poll(). */
void refresher_hear_network(struct refresher *refresher);
int refresher_network_timeout_ms(const struct refresher *refresher);
/* When it is time: terms whose last attempt reached nobody are asked soon, their back-off begins
 * anew. */
void refresher_heed_network(struct refresher *refresher);

/* After the machine has slept: what is long overdue is asked soon, but not all in one instant. */
void refresher_spread_overdue(struct refresher *refresher);

#endif
