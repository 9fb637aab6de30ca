/* origin_places: how many updates each origin may have, beside any number of slow ones. */
#include <stdio.h>
#include <stdlib.h>

#include "fake_clock.h"
#include "fetch/origin_places.h"
#include "tap.h"

#define ORIGINS 3000

static struct origin_places *places;
static char names[ORIGINS][16];
static struct origin *origins[ORIGINS];
static size_t n_inherited;
static struct origin_waiter *inherited[8]; /* the first ones */

static void note(void *arg, struct origin_waiter *waiter)
{
	(void)arg;
	if (n_inherited < 8)
		inherited[n_inherited] = waiter;
	n_inherited++;
}

static void set_up(void)
{
	struct err err = ERR_INIT;

	n_inherited = 0;
	if (origin_places_new(&places, note, NULL, &err) < 0)
		abort();
	for (size_t i = 0; i < ORIGINS; i++) {
		snprintf(names[i], sizeof(names[i]), "http://%zu", i);
		if (origin_places_add(places, names[i], &origins[i], &err) < 0)
			abort();
	}
}

/* Takes up to max places at the origin; returns how many it got. */
static unsigned take(size_t i, unsigned max)
{
	struct origin_place place;
	unsigned n = 0;

	while (n < max && origin_place_take(places, names[i], &place))
		n++;
	return n;
}

static void leave(size_t i)
{
	struct origin_place place = origin_place_of(places, origins[i]);

	origin_place_leave(&place);
}

/* An update that ends at once. */
static bool is_served(size_t i)
{
	struct origin_place place;

	if (!origin_place_take(places, names[i], &place))
		return false;
	origin_place_leave(&place);
	return true;
}

static void test_shares(void)
{
	static const struct {
		size_t n_origins;
		unsigned each_at_least;
	} rows[] = { { 1, 64 }, { 5, 12 }, { 20, 1 }, { 100, 1 }, { 300, 1 } };

	for (size_t row = 0; row < sizeof(rows) / sizeof(*rows); row++) {
		unsigned least = 1000, all = 0;

		set_up();
		for (size_t i = 0; i < rows[row].n_origins; i++) {
			unsigned n = take(i, 1000);
			least = n < least ? n : least;
			all += n;
		}
		ok(least >= rows[row].each_at_least, "each of %zu origins has %u places or more",
		   rows[row].n_origins, least);
		ok(all < 512, "they have %u", all);
		ok(is_served(ORIGINS - 1), "and a new one finds a place");
		origin_places_free(places);
	}
}

static void test_slow_ones(void)
{
	size_t n_slow = 0;

	set_up();
	is_served(0);
	/* They come as fast as they get places, and never answer. */
	for (size_t i = 1; i < ORIGINS - 1; i++) {
		while (take(i, 4) == 0 && n_slow < 4) {
			fake_sleep(ORIGIN_SLOW_MS);
			n_slow++;
		}
		if (i % 100 == 0 && !is_served(0))
			ok(false, "a quick origin waits beside %zu slow ones", i);
	}
	ok(is_served(0), "a quick origin finds a place beside thousands of slow ones");
	is_int(take(0, 1000), 64, "and as many as it would find alone");
	origin_places_free(places);
}

/* What was slow once is held to the share of slow ones, until it is quick again. */
static void test_slow_again(void)
{
	struct origin_place place;

	set_up();
	for (size_t i = 0; i < 400; i++) {
		if (!origin_place_take(places, names[i], &place))
			abort();
		place.since_ms -= ORIGIN_SLOW_MS;
		origin_place_leave(&place);
	}
	is_int(take(0, 1000), 48, "a slow origin has fewer places");
	unsigned n = 48;
	for (size_t i = 1; i < 400; i++)
		n += take(i, 1);
	is_int(n, 256, "the number of all slow ones is limited");
	ok(is_served(ORIGINS - 1), "a new origin has another");
	leave(0);
	ok(take(0, 1) == 1, "an origin that ends an update in time is quick again");
	origin_places_free(places);
}

static void test_queue(void)
{
	struct origin_waiter a[3], b[2];
	unsigned held;

	set_up();
	held = take(0, 1000);
	for (int i = 0; i < 3; i++)
		ok(!origin_place_take_or_wait(places, origins[0], &a[i]), "an update has to wait");
	is_int(origin_places_review(places) > 0, true, "it waits for a review");
	leave(0);
	is_int(n_inherited, 1, "a place that is given back");
	ok(inherited[0] == &a[0], "goes to the first in the queue");
	ok(!origin_place_take_or_wait(places, origins[0], &b[0]), "nobody overtakes the others");
	fake_sleep(ORIGIN_SLOW_MS);
	for (unsigned i = 0; i < held; i++)
		leave(0);
	ok(n_inherited == 4 && inherited[1] == &a[1] && inherited[2] == &a[2] &&
		   inherited[3] == &b[0],
	   "all get their places, in order");
	is_int(origin_places_review(places), -1, "and nobody waits");
	origin_places_free(places);
}

/* All places of the pool are taken: the next ones come when their holders turn slow. */
static void test_review(void)
{
	struct origin_waiter waiter, other;

	set_up();
	for (size_t i = 0; i < 512; i++)
		take(i, 1);
	ok(!origin_place_take_or_wait(places, origins[512], &waiter) &&
		   !origin_place_take_or_wait(places, origins[513], &other),
	   "the pool is empty");
	origin_places_review(places);
	is_int(n_inherited, 0, "as long as its holders may be quick");
	fake_sleep(ORIGIN_SLOW_MS);
	is_int(origin_places_review(places), -1, "when they turn slow");
	ok(n_inherited == 2 && inherited[0] == &waiter && inherited[1] == &other,
	   "those that wait get places, in order");
	origin_places_free(places);
}

int main(void)
{
	test_shares();
	test_slow_ones();
	test_slow_again();
	test_queue();
	test_review();
	return tap_done();
}
