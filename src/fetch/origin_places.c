#include "fetch/origin_places.h"

#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "base/util.h"

struct origin {
	const char *name;	     /* borrowed */
	unsigned n_taken;	     /* guarded by lock; places */
	struct origin_waiter *first; /* guarded by lock */
	struct origin_waiter **last; /* guarded by lock; where the next one is linked */
	UT_hash_handle hh;
};

struct origin_places {
	unsigned per_origin;
	void (*inherited)(void *arg, struct origin_waiter *waiter);
	void *arg;
	struct origin *by_name; /* owned, with its elements */
	pthread_mutex_t lock;
};

int origin_places_new(struct origin_places **ret, unsigned places_per_origin,
		      void (*inherited)(void *arg, struct origin_waiter *waiter), void *arg,
		      struct err *err)
{
	struct origin_places *places = calloc(1, sizeof(*places));

	if (!places)
		return err_set(err, ERR_INTERNAL, "origins: out of memory");
	places->per_origin = places_per_origin;
	places->inherited = inherited;
	places->arg = arg;
	pthread_mutex_init(&places->lock, NULL);
	*ret = places;
	return 0;
}

void origin_places_free(struct origin_places *places)
{
	struct origin *origin, *next;

	if (!places)
		return;
	HASH_ITER(hh, places->by_name, origin, next) {
		HASH_DEL(places->by_name, origin);
		free(origin);
	}
	pthread_mutex_destroy(&places->lock);
	free(places);
}

unsigned origin_places_per_origin(const struct origin_places *places)
{
	return places->per_origin;
}

static struct origin *find(struct origin_places *places, const char *name)
{
	struct origin *origin = NULL;

	HASH_FIND_STR(places->by_name, name, origin);
	return origin;
}

int origin_places_add(struct origin_places *places, const char *name, struct origin **ret,
		      struct err *err)
{
	struct origin *origin = find(places, name);

	if (!origin) {
		origin = calloc(1, sizeof(*origin));
		if (!origin)
			return err_set(err, ERR_INTERNAL, "origin %s: out of memory", name);
		origin->name = name;
		origin->last = &origin->first;
		HASH_ADD_KEYPTR(hh, places->by_name, origin->name, strlen(name), origin);
		if (!hash_has(origin, hh)) {
			free(origin);
			return err_set(err, ERR_INTERNAL, "origin %s: out of memory", name);
		}
	}
	*ret = origin;
	return 0;
}

/* With the lock held. */
static bool take(struct origin_places *places, struct origin *origin)
{
	bool has_place = origin->n_taken < places->per_origin;

	if (has_place)
		origin->n_taken++;
	return has_place;
}

bool origin_place_take(struct origin_places *places, const char *name, struct origin_place *ret)
{
	struct origin *origin = name ? find(places, name) : NULL;

	if (origin) {
		pthread_mutex_lock(&places->lock);
		bool has_place = take(places, origin);
		pthread_mutex_unlock(&places->lock);
		if (!has_place)
			return false;
	}
	*ret = origin_place_of(places, origin);
	return true;
}

bool origin_place_take_or_wait(struct origin_places *places, struct origin *origin,
			       struct origin_waiter *waiter)
{
	if (!origin)
		return true;
	pthread_mutex_lock(&places->lock);
	bool has_place = take(places, origin);
	if (!has_place) {
		waiter->next = NULL;
		*origin->last = waiter;
		origin->last = &waiter->next;
	}
	pthread_mutex_unlock(&places->lock);
	return has_place;
}

struct origin_place origin_place_of(struct origin_places *places, struct origin *origin)
{
	return (struct origin_place){ places, origin };
}

void origin_place_leave(struct origin_place *place)
{
	struct origin_places *places = place->places;
	struct origin *origin = steal_ptr(&place->origin);

	if (!origin)
		return;
	pthread_mutex_lock(&places->lock);
	struct origin_waiter *next = origin->first;
	if (next) {
		origin->first = next->next;
		if (!origin->first)
			origin->last = &origin->first;
	} else {
		origin->n_taken--;
	}
	pthread_mutex_unlock(&places->lock);
	if (next)
		places->inherited(places->arg, next);
}
