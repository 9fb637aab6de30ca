/*
 * origin_places: how many updates may wait for one origin, and who is next.
 *
 * An origin has a fixed number of places. Who finds none either goes without, or stands in a queue
 * until a place is handed over. The table of names is immutable once it is filled.
 */
#ifndef FETCH_ORIGIN_PLACES_H
#define FETCH_ORIGIN_PLACES_H

#include <stdbool.h>

#include "base/err.h"

struct origins;
struct origin;

/* Part of whatever stands in a queue; the caller's again once origin_leave() gave it back. */
struct origin_waiter {
	struct origin_waiter *next;
};

int origins_new(struct origins **ret, unsigned places, struct err *err);
void origins_free(struct origins *origins);

/* Finds or adds; name is borrowed. While the table is filled only. */
int origins_add(struct origins *origins, const char *name, struct origin **ret, struct err *err);
/* NULL if there is none of that name. */
struct origin *origins_find(struct origins *origins, const char *name);

/* Takes a place if there is one. */
bool origin_enter(struct origins *origins, struct origin *origin);
/* Takes a place (true), or stands in the queue. */
bool origin_enter_or_wait(struct origins *origins, struct origin *origin,
			  struct origin_waiter *waiter);
/* Gives a place back. Returns who stood first in the queue and has it now, or NULL. */
struct origin_waiter *origin_leave(struct origins *origins, struct origin *origin);

#endif
