/*
 * origin_places: how many updates may wait for one origin at a time, and for all of them.
 *
 * An update that finds no free place skips that source, or queues until it inherits one. A place is
 * a handle, which its holder must release.
 *
 * No number of slow origins takes the places of the others, because each place belongs to one of
 * three pools, by what the origin has shown:
 *
 *	            the first update               an update ends within ORIGIN_SLOW_MS
 *	UNKNOWN ─────────────────────────────► QUICK ◄──────────────────────────────┐
 *	   └─ none has ended for ORIGIN_SLOW_MS ─┴────────────────────────────────► SLOW
 *
 * The places of an origin move with it, so the pools of those that are not slow are never full for
 * long. Within a pool an origin may have half of what is left to share: 64 places if it is alone,
 * less beside others. First places are set aside for hundreds of further origins. Origins that wait
 * take turns.
 *
 * The table of origins does not change once it is filled. From any thread.
 */
#ifndef FETCH_ORIGIN_PLACES_H
#define FETCH_ORIGIN_PLACES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define ORIGIN_SLOW_MS 5000

/* All that may be taken. */
#define ORIGIN_PLACES_MAX 1024

/* Updates that may store and publish without a place. */
#define ORIGIN_STORING_MAX 128

struct origin_places;
struct origin;

struct origin_place {
	struct origin_places *places; /* borrowed */
	struct origin *origin;	      /* NULL: no place is held, or none is needed */
	int64_t since_ms;	      /* clock_boot_ms() */
	bool has_answered;
	bool is_storing; /* it was given back early, and its holder is counted */
};

/* Embedded in each update that can queue. */
struct origin_waiter {
	struct origin_waiter *next;
};

/* inherited() is called, by the thread that gives a place back or calls origin_places_review(), for
 * the waiter that holds it now. */
int origin_places_new(struct origin_places **ret,
		      void (*inherited)(void *arg, struct origin_waiter *waiter), void *arg,
		      struct err *err);
void origin_places_free(struct origin_places *places);

/* Finds or adds an origin; the name is borrowed. Only while the table is filled. */
int origin_places_add(struct origin_places *places, const char *name, struct origin **ret,
		      struct err *err);

/* Takes a place at the origin of that name; false if there is none free. A name that is NULL, or
 * not in the table, needs none. */
bool origin_place_take(struct origin_places *places, const char *name, struct origin_place *ret);

/* Takes a place at the origin, or queues and returns false. The place is origin_place_of(), when
 * this returns true or once inherited() was called. */
bool origin_place_take_or_wait(struct origin_places *places, struct origin *origin,
			       struct origin_waiter *waiter);
struct origin_place origin_place_of(struct origin_places *places, struct origin *origin);

/* The source has answered, and the holder goes on to store and publish. Gives the place back,
 * unless ORIGIN_STORING_MAX others have done so: then sources are asked no faster than the store
 * and the publisher work. Once, before origin_place_leave(). */
void origin_place_answered(struct origin_place *place);

/* Gives back what is held. */
void origin_place_leave(struct origin_place *place);

/* Gives places to those who may have one by now, because others have turned slow. Returns in how
 * many milliseconds to call it again; -1: nobody waits. */
int origin_places_review(struct origin_places *places);

#endif
