#include "fetch/origin_places.h"

#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"

#define REVIEW_MS 1000

enum pace { UNKNOWN, QUICK, SLOW, PACES };

/* Places that turn slow are not taken away, so the pool of the slow ones can hold more than its
 * size. */
static const struct {
	unsigned size;	 /* an origin gets its first place as long as not so many are taken */
	unsigned shared; /* … and another one of what is left of these */
	unsigned all;	 /* as long as not so many of all pools are taken */
} pools[PACES] = {
	[UNKNOWN] = { 512, 192, ORIGIN_PLACES_MAX - 256 },
	[QUICK] = { 512, 192, ORIGIN_PLACES_MAX },
	[SLOW] = { 256, 144, ORIGIN_PLACES_MAX - 256 },
};

struct origin {
	const char *name;	     /* borrowed */
	enum pace pace;		     /* guarded by lock, as all below; of the last update */
	unsigned n_taken;	     /* places */
	int64_t quiet_since_ms;	     /* no update has begun alone, or ended in time, since */
	struct origin_waiter *first; /* of those that wait */
	struct origin_waiter **last; /* where the next one is linked */
	struct origin *prev, *next;  /* in the list of those for which updates wait */
	struct origin *active_prev, *active_next; /* … of those at which places are taken */
	UT_hash_handle hh;
};

struct origin_places {
	void (*inherited)(void *arg, struct origin_waiter *waiter);
	void *arg;
	struct origin *by_name; /* owned, with its elements */
	pthread_mutex_t lock;
	struct origin *waiting; /* guarded by lock; the one that is next first */
	struct origin *active;	/* guarded by lock */
	unsigned n_taken;	/* guarded by lock */
	unsigned n_storing;	/* guarded by lock; updates that gave their place back early */
};

/* How many places of each pool are taken. */
struct taken {
	unsigned of_pool[PACES];
};

int origin_places_new(struct origin_places **ret,
		      void (*inherited)(void *arg, struct origin_waiter *waiter), void *arg,
		      struct err *err)
{
	struct origin_places *places = calloc(1, sizeof(*places));

	if (!places)
		return err_set(err, ERR_INTERNAL, "origins: out of memory");
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

/* ---- the pools; with the lock held ---- */

static enum pace pace_of(const struct origin *origin, int64_t now_ms)
{
	bool is_quiet = origin->n_taken && now_ms - origin->quiet_since_ms >= ORIGIN_SLOW_MS;

	return is_quiet ? SLOW : origin->pace;
}

static struct taken count(const struct origin_places *places, int64_t now_ms)
{
	struct taken taken = { .of_pool = { 0 } };
	struct origin *origin;

	DL_FOREACH2(places->active, origin, active_next)
	taken.of_pool[pace_of(origin, now_ms)] += origin->n_taken;
	return taken;
}

static bool may_take(const struct origin_places *places, const struct origin *origin,
		     const struct taken *taken, int64_t now_ms)
{
	enum pace pace = pace_of(origin, now_ms);
	unsigned of_pool = taken->of_pool[pace], shared = pools[pace].shared;

	if (of_pool >= pools[pace].size || places->n_taken >= pools[pace].all)
		return false;
	return !origin->n_taken || (of_pool < shared && origin->n_taken < (shared - of_pool) / 2);
}

static void take(struct origin_places *places, struct origin *origin, struct taken *taken,
		 int64_t now_ms)
{
	taken->of_pool[pace_of(origin, now_ms)]++;
	places->n_taken++;
	if (!origin->n_taken++) {
		origin->quiet_since_ms = now_ms;
		DL_APPEND2(places->active, origin, active_prev, active_next);
	}
}

static bool try_to_take(struct origin_places *places, struct origin *origin)
{
	int64_t now_ms = clock_boot_ms();
	struct taken taken = count(places, now_ms);
	bool may = may_take(places, origin, &taken, now_ms);

	if (may)
		take(places, origin, &taken, now_ms);
	return may;
}

/* ---- those that wait; with the lock held ---- */

static void queue(struct origin_places *places, struct origin *origin, struct origin_waiter *waiter)
{
	if (!origin->first)
		DL_APPEND(places->waiting, origin);
	waiter->next = NULL;
	*origin->last = waiter;
	origin->last = &waiter->next;
}

static struct origin_waiter *unqueue(struct origin_places *places, struct origin *origin)
{
	struct origin_waiter *waiter = origin->first;

	origin->first = waiter->next;
	if (!origin->first)
		origin->last = &origin->first;
	DL_DELETE(places->waiting, origin);
	if (origin->first)
		DL_APPEND(places->waiting, origin);
	return waiter;
}

/* Gives each origin one more place, as long as there are any. Returns a list of those that hold a
 * place now. */
static struct origin_waiter *give(struct origin_places *places)
{
	struct origin_waiter *given = NULL, **end = &given;
	int64_t now_ms = clock_boot_ms();
	struct origin *origin, *next;
	bool is_any = places->waiting;
	struct taken taken;

	if (is_any)
		taken = count(places, now_ms);
	while (is_any) {
		is_any = false;
		DL_FOREACH_SAFE(places->waiting, origin, next)
		{
			if (!may_take(places, origin, &taken, now_ms))
				continue;
			take(places, origin, &taken, now_ms);
			*end = unqueue(places, origin);
			end = &(*end)->next;
			is_any = true;
		}
	}
	*end = NULL;
	return given;
}

static void tell(struct origin_places *places, struct origin_waiter *given)
{
	while (given) {
		struct origin_waiter *next = given->next;

		places->inherited(places->arg, given);
		given = next;
	}
}

/* ---- from any thread ---- */

bool origin_place_take(struct origin_places *places, const char *name, struct origin_place *ret)
{
	struct origin *origin = name ? find(places, name) : NULL;

	if (origin) {
		pthread_mutex_lock(&places->lock);
		bool has_place = try_to_take(places, origin);
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
	pthread_mutex_lock(&places->lock);
	bool has_place = !origin->first && try_to_take(places, origin);
	if (!has_place)
		queue(places, origin, waiter);
	pthread_mutex_unlock(&places->lock);
	return has_place;
}

struct origin_place origin_place_of(struct origin_places *places, struct origin *origin)
{
	return (struct origin_place){ .places = places,
				      .origin = origin,
				      .since_ms = clock_boot_ms() };
}

/* With the lock held: how long the origin took shows how quick it is. */
static void judge(struct origin *origin, const struct origin_place *place)
{
	int64_t now_ms = clock_boot_ms();
	bool is_quick = now_ms - place->since_ms < ORIGIN_SLOW_MS;

	origin->pace = is_quick ? QUICK : SLOW;
	if (is_quick)
		origin->quiet_since_ms = now_ms;
}

/* With the lock held. Returns a list of those that hold a place now. */
static struct origin_waiter *give_back(struct origin_places *places, struct origin *origin)
{
	places->n_taken--;
	if (!--origin->n_taken)
		DL_DELETE2(places->active, origin, active_prev, active_next);
	return give(places);
}

void origin_place_answered(struct origin_place *place)
{
	struct origin_places *places = place->places;
	struct origin_waiter *given = NULL;

	if (!place->origin)
		return;
	pthread_mutex_lock(&places->lock);
	judge(place->origin, place);
	place->has_answered = true;
	place->is_storing = places->n_storing < ORIGIN_STORING_MAX;
	if (place->is_storing) {
		places->n_storing++;
		given = give_back(places, steal_ptr(&place->origin));
	}
	pthread_mutex_unlock(&places->lock);
	tell(places, given);
}

void origin_place_leave(struct origin_place *place)
{
	struct origin_places *places = place->places;
	struct origin *origin = steal_ptr(&place->origin);
	struct origin_waiter *given = NULL;

	if (!origin && !place->is_storing)
		return;
	pthread_mutex_lock(&places->lock);
	if (place->is_storing)
		places->n_storing--;
	if (origin && !place->has_answered)
		judge(origin, place);
	if (origin)
		given = give_back(places, origin);
	pthread_mutex_unlock(&places->lock);
	place->is_storing = place->has_answered = false;
	tell(places, given);
}

int origin_places_review(struct origin_places *places)
{
	pthread_mutex_lock(&places->lock);
	struct origin_waiter *given = give(places);
	bool is_waiting = places->waiting;
	pthread_mutex_unlock(&places->lock);
	tell(places, given);
	return is_waiting ? REVIEW_MS : -1;
}
