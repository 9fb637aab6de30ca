/*
 * origin_places: how many updates may wait for one origin at a time.
 *
 * An origin has a fixed number of places. An update that finds none free either gives up or queues
 * until it inherits one. A place is a handle, which its holder must release. The table of origins
 * does not change once it is filled. From any thread.
 */
#ifndef FETCH_ORIGIN_PLACES_H
#define FETCH_ORIGIN_PLACES_H

#include <stdbool.h>

#include "base/err.h"

struct origin_places;
struct origin;

struct origin_place {
	struct origin_places *places; /* borrowed */
	struct origin *origin;	      /* NULL: no place is held, or none is needed */
};

/* Embedded in each update that can queue. */
struct origin_waiter {
	struct origin_waiter *next;
};

/* inherited() is called, by the thread that gives a place back, for the waiter that holds it
 * now. */
int origin_places_new(struct origin_places **ret, unsigned places_per_origin,
		      void (*inherited)(void *arg, struct origin_waiter *waiter), void *arg,
		      struct err *err);
void origin_places_free(struct origin_places *places);
unsigned origin_places_per_origin(const struct origin_places *places);

/* Finds or adds an origin; the name is borrowed. Only while the table is filled. */
int origin_places_add(struct origin_places *places, const char *name, struct origin **ret,
		      struct err *err);

/* Takes a place at the origin of that name; false if there is none free. A name that is NULL, or
 * not in the table, needs none. */
bool origin_place_take(struct origin_places *places, const char *name, struct origin_place *ret);

/* Takes a place at the origin (NULL: needs none), or queues and returns false. The place is
 * origin_place_of(), when this returns true or once inherited() was called. */
bool origin_place_take_or_wait(struct origin_places *places, struct origin *origin,
			       struct origin_waiter *waiter);
struct origin_place origin_place_of(struct origin_places *places, struct origin *origin);

/* Gives it back, once. */
void origin_place_leave(struct origin_place *place);

#endif
