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

struct origins {
	unsigned places;      /* of each */
	struct origin *table; /* owned, with its elements */
	pthread_mutex_t lock;
};

int origins_new(struct origins **ret, unsigned places, struct err *err)
{
	struct origins *origins = calloc(1, sizeof(*origins));

	if (!origins)
		return err_set(err, ERR_INTERNAL, "origins: out of memory");
	origins->places = places;
	pthread_mutex_init(&origins->lock, NULL);
	*ret = origins;
	return 0;
}

void origins_free(struct origins *origins)
{
	struct origin *origin, *next;

	if (!origins)
		return;
	HASH_ITER(hh, origins->table, origin, next) {
		HASH_DEL(origins->table, origin);
		free(origin);
	}
	pthread_mutex_destroy(&origins->lock);
	free(origins);
}

struct origin *origins_find(struct origins *origins, const char *name)
{
	struct origin *origin = NULL;

	HASH_FIND_STR(origins->table, name, origin);
	return origin;
}

int origins_add(struct origins *origins, const char *name, struct origin **ret, struct err *err)
{
	struct origin *origin = origins_find(origins, name);

	if (!origin) {
		origin = calloc(1, sizeof(*origin));
		if (!origin)
			return err_set(err, ERR_INTERNAL, "origin %s: out of memory", name);
		origin->name = name;
		origin->last = &origin->first;
		HASH_ADD_KEYPTR(hh, origins->table, origin->name, strlen(name), origin);
		if (!hash_has(origin, hh)) {
			free(origin);
			return err_set(err, ERR_INTERNAL, "origin %s: out of memory", name);
		}
	}
	*ret = origin;
	return 0;
}

bool origin_enter(struct origins *origins, struct origin *origin)
{
	pthread_mutex_lock(&origins->lock);
	bool has_place = origin->n_taken < origins->places;
	if (has_place)
		origin->n_taken++;
	pthread_mutex_unlock(&origins->lock);
	return has_place;
}

bool origin_enter_or_wait(struct origins *origins, struct origin *origin,
			  struct origin_waiter *waiter)
{
	pthread_mutex_lock(&origins->lock);
	bool has_place = origin->n_taken < origins->places;
	if (has_place) {
		origin->n_taken++;
	} else {
		waiter->next = NULL;
		*origin->last = waiter;
		origin->last = &waiter->next;
	}
	pthread_mutex_unlock(&origins->lock);
	return has_place;
}

struct origin_waiter *origin_leave(struct origins *origins, struct origin *origin)
{
	pthread_mutex_lock(&origins->lock);
	struct origin_waiter *next = origin->first;
	if (next) {
		origin->first = next->next;
		if (!origin->first)
			origin->last = &origin->first;
	} else {
		origin->n_taken--;
	}
	pthread_mutex_unlock(&origins->lock);
	return next;
}
