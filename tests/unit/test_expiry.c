/* expiry: max_stale, a machine that sleeps, a wall clock that jumps. A real store and refresher,
 * fake sources and clocks. */
#include "fake_clock.h"
#include "fake_fetcher.h"

#include "base/log.h"
#include "fetch/refresher.h"
#include "load_term.h"

#define N      60
#define HOUR_S INT64_C(3600)
#define HOUR   (HOUR_S * 1000)
#define YEARS  (INT64_C(20) * 365 * 24 * HOUR)
/* A deadline that no test reaches. */
#define FOREVER INT64_MAX

struct bench {
	size_t n;
	struct temp_store temp;
	struct cancel cancel;
	struct fake fakes[N];
	struct source sources[N];
	struct term_config configs[N];
	struct term terms[N];
	char names[N][8];
	struct refresher *refresher;
	atomic_uint hidden; /* how often a name was removed */
	atomic_bool blocks; /* removing a name blocks meanwhile */
	struct err err;
};

static int publish(void *arg, struct term *term, struct snapshot *snapshot, struct err *err)
{
	struct bench *bench = arg;

	if (!snapshot)
		atomic_fetch_add(&bench->hidden, 1);
	while (!snapshot && atomic_load(&bench->blocks))
		usleep(1000);
	return fake_publish(&bench->temp, term, snapshot, err);
}

static void set_up(struct bench *bench, size_t n)
{
	*bench = (struct bench){ .n = n };
	for (size_t i = 0; i < n; i++) {
		snprintf(bench->names[i], sizeof(bench->names[i]), "t%02zu", i);
		bench->fakes[i] = (struct fake)FAKE_INIT;
		bench->fakes[i].token = "1";
		bench->sources[i] = fake_source(&fake_ops, &bench->fakes[i], i + 1);
		bench->configs[i] = (struct term_config){ .name = bench->names[i],
							  .sources = &bench->sources[i],
							  .n_sources = 1,
							  .refresh_interval_ms = CONFIG_NEVER,
							  .attempt_timeout_ms = 600000,
							  .max_size_bytes = 1 << 20,
							  .max_stale_ms = HOUR,
							  .on_expire = ON_EXPIRE_HIDE,
							  .history = 1 };
	}
}

static void start(struct bench *bench)
{
	const char *tokens[N];
	uint64_t fingerprints[N];
	struct err *err = &bench->err;

	if (cancel_init(&bench->cancel, err) < 0)
		abort();
	temp_store_open(&bench->temp);
	for (size_t i = 0; i < bench->n; i++) {
		struct store_term stored = { NULL };

		if (load_term(bench->temp.store, bench->names[i], &stored, err) < 0 ||
		    term_init(&bench->terms[i], &bench->configs[i], stored.snapshot, stored.token,
			      err) < 0)
			abort();
		term_set_confirmed(&bench->terms[i], stored.confirmed_at_ms);
		tokens[i] = stored.token;
		fingerprints[i] = stored.fingerprint;
	}
	struct refresher_setup setup = {
		.terms = bench->terms,
		.tokens = tokens,
		.fingerprints = fingerprints,
		.n_terms = bench->n,
		.env = { .store = bench->temp.store,
			 .cancel = &bench->cancel,
			 .publish = publish,
			 .publish_arg = bench },
	};
	if (refresher_new(&bench->refresher, &setup, err) < 0 ||
	    refresher_start(bench->refresher, err) < 0) {
		printf("Bail out! %s\n", err->msg);
		abort();
	}
	for (size_t i = 0; i < bench->n; i++)
		free((char *)tokens[i]);
}

static void stop(struct bench *bench)
{
	cancel_request(&bench->cancel);
	refresher_stop(bench->refresher);
	refresher_free(bench->refresher);
	for (size_t i = 0; i < bench->n; i++)
		term_release(&bench->terms[i]);
	store_close(bench->temp.store);
	bench->temp.store = NULL;
	cancel_release(&bench->cancel);
}

static enum update_outcome ask(struct bench *bench, size_t i)
{
	enum update_outcome outcome = UPDATE_CANCELED;
	uint64_t ticket = refresher_request(bench->refresher, i);

	refresher_wait(bench->refresher, i, ticket, FOREVER, &outcome);
	return outcome;
}

static struct term_status status_of(struct bench *bench, size_t i)
{
	struct term_status status;

	term_status(&bench->terms[i], &status);
	term_status_release(&status);
	return status;
}

/* The id that the name shows; 0: none. */
static uint64_t shows(struct bench *bench, size_t i)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(&bench->terms[i]);

	return current ? current->id : 0;
}

static bool is_state(struct bench *bench, size_t i, enum term_state state)
{
	return wait_for(term_state_now(&bench->terms[i]) == state);
}

static void test_keep(void)
{
	struct bench bench;

	set_up(&bench, 2);
	bench.configs[0].on_expire = ON_EXPIRE_KEEP;
	bench.configs[1].max_stale_ms = 0;
	start(&bench);
	ok(is_state(&bench, 0, TERM_FRESH), "the term is fresh");
	fake_sleep(HOUR / 2);
	is_int(ask(&bench, 0), UPDATE_UNCHANGED,
	       "the source confirms the term after half the time");
	fake_sleep(HOUR / 2 + 60000);
	is_int(ask(&bench, 1), UPDATE_UNCHANGED, "the first success is longer ago than max_stale");
	is_int(status_of(&bench, 0).state, TERM_FRESH, "only the last success counts");
	atomic_store(&bench.fakes[0].fails, ERR_UNREACHABLE);
	is_int(ask(&bench, 0), UPDATE_FAILED, "the source is down");
	is_int(status_of(&bench, 0).state, TERM_STALE, "the term is stale");
	fake_sleep(HOUR / 2);
	ok(is_state(&bench, 0, TERM_EXPIRED), "the term expires in time");
	ok(shows(&bench, 0) != 0, "an expired term is still shown");
	is_int(ask(&bench, 0), UPDATE_FAILED, "the source is still down");
	is_int(status_of(&bench, 0).state, TERM_EXPIRED, "the term stays expired");
	atomic_store(&bench.fakes[0].fails, ERR_NOT_FOUND);
	is_int(ask(&bench, 0), UPDATE_FAILED, "the source answers 404");
	is_int(status_of(&bench, 0).state, TERM_EXPIRED, "the term stays expired after a 404");
	atomic_store(&bench.fakes[0].fails, ERR_NONE);
	is_int(ask(&bench, 0), UPDATE_UNCHANGED, "the source confirms the term again");
	is_int(status_of(&bench, 0).state, TERM_FRESH, "the term is fresh again");
	fake_sleep(HOUR);
	ok(is_state(&bench, 0, TERM_EXPIRED), "the term expires again without an update");
	is_int(status_of(&bench, 1).state, TERM_FRESH, "a term without max_stale does not expire");
	is_int(bench.hidden, 0, "no name was removed");
	stop(&bench);
	temp_store_remove(&bench.temp);
}

static void test_hide(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	start(&bench);
	ok(is_state(&bench, 0, TERM_FRESH), "the term is fresh");
	uint64_t first = shows(&bench, 0);
	fake_sleep(HOUR + 1000);
	ok(wait_for(bench.hidden == 1), "the name is removed on expiry");
	is_int(shows(&bench, 0), 0, "nothing is shown");
	is_int(status_of(&bench, 0).state, TERM_EXPIRED, "the term is expired");
	unsigned downloads = fake->downloads;
	is_int(ask(&bench, 0), UPDATE_UNCHANGED, "the source answers that the term is unchanged");
	is_int(fake->downloads, downloads, "the term is not downloaded again");
	uint64_t second = shows(&bench, 0);
	ok(second > first, "the term is shown again under a new id");
	is_int(status_of(&bench, 0).state, TERM_FRESH, "the term is fresh again");
	is_int(ask(&bench, 0), UPDATE_UNCHANGED,
	       "the source answers again that the term is unchanged");
	is_int(fake->downloads, downloads, "the token is still valid");
	is_int(shows(&bench, 0), second, "the snapshot stays the same");

	fake_sleep(HOUR + 1000);
	ok(wait_for(bench.hidden == 2), "the name is removed again");
	fake->token = "2";
	fake->body = "new";
	is_int(ask(&bench, 0), UPDATE_UPDATED, "the source has a new version");
	ok(shows(&bench, 0) > second, "the new version is shown");

	fake_sleep(HOUR + 1000);
	ok(wait_for(bench.hidden == 3), "the name is removed once more");
	bench.configs[0].on_delete = ON_DELETE_REMOVE;
	atomic_store(&fake->fails, ERR_NOT_FOUND);
	is_int(ask(&bench, 0), UPDATE_FAILED, "the source has removed the term");
	is_int(status_of(&bench, 0).state, TERM_ABSENT,
	       "the term is absent, because no hidden snapshot is kept");
	atomic_store(&fake->fails, ERR_NONE);
	is_int(ask(&bench, 0), UPDATE_UPDATED, "the term is downloaded when it comes back");
	stop(&bench);
	temp_store_remove(&bench.temp);
}

/* A hanging source does not delay expiry, and its answer still counts. */
static void test_hide_during_an_update(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	start(&bench);
	ok(is_state(&bench, 0, TERM_FRESH), "the term is fresh");
	atomic_store(&fake->blocks, true);
	uint64_t ticket = refresher_request(bench.refresher, 0);
	ok(wait_for(fake->waiting == 1), "an update hangs");
	fake_sleep(HOUR + 1000);
	ok(wait_for(bench.hidden == 1), "the name is removed during the update");
	enum update_outcome outcome = UPDATE_FAILED;
	atomic_store(&fake->blocks, false);
	refresher_wait(bench.refresher, 0, ticket, FOREVER, &outcome);
	is_int(outcome, UPDATE_UNCHANGED, "the update ends unchanged");
	ok(shows(&bench, 0) != 0, "the term is shown again");
	is_int(status_of(&bench, 0).state, TERM_FRESH, "the term is fresh again");

	atomic_store(&bench.blocks, true);
	fake_sleep(HOUR + 1000);
	ok(wait_for(bench.hidden == 2), "the name is being removed");
	ticket = refresher_request(bench.refresher, 0);
	ok(!refresher_wait(bench.refresher, 0, ticket, clock_boot_ms() + 200, &outcome),
	   "an update that would show the term waits for the removal");
	atomic_store(&bench.blocks, false);
	ok(refresher_wait(bench.refresher, 0, ticket, FOREVER, &outcome),
	   "the update ends after the removal");
	ok(shows(&bench, 0) != 0, "the term is shown again");
	is_int(status_of(&bench, 0).state, TERM_FRESH, "the term is fresh again");
	stop(&bench);
	temp_store_remove(&bench.temp);
}

/* Confirmation and expiry at the same time, in either order. */
static void test_race(void)
{
	struct bench bench;
	unsigned wrong = 0;

	set_up(&bench, 1);
	bench.configs[0].max_stale_ms = 3;
	start(&bench);
	for (int i = 0; i < 300; i++) {
		bench.fakes[0].token = i & 64 ? "1" : "2"; /* the same bytes */
		ask(&bench, 0);
		/* In this order: a shown term may be hidden before its state is read. */
		bool is_hidden = shows(&bench, 0) == 0;
		wrong += is_hidden && term_state_now(&bench.terms[0]) != TERM_EXPIRED;
		usleep(2500);
	}
	is_int(wrong, 0, "the name and the state always agree");
	ok(bench.hidden > 10, "the term was hidden %u times", bench.hidden);
	stop(&bench);
	/* With a longer max_stale it is shown in the end. */
	bench.configs[0].max_stale_ms = HOUR;
	start(&bench);
	is_int(ask(&bench, 0), UPDATE_UNCHANGED, "the source confirms the term after a restart");
	ok(shows(&bench, 0) != 0, "the term is shown");
	stop(&bench);
	temp_store_remove(&bench.temp);
}

static void test_restart(void)
{
	struct bench bench;

	set_up(&bench, 2);
	bench.configs[1].on_expire = ON_EXPIRE_KEEP;
	start(&bench);
	ok(is_state(&bench, 0, TERM_FRESH) && is_state(&bench, 1, TERM_FRESH),
	   "both terms are fresh");
	uint64_t first = shows(&bench, 0);
	fake_sleep(HOUR / 2);
	is_int(ask(&bench, 0), UPDATE_UNCHANGED,
	       "the source confirms the first term after half the time");
	is_int(ask(&bench, 1), UPDATE_UNCHANGED, "the source confirms the second term as well");
	stop(&bench);
	for (size_t i = 0; i < 2; i++)
		atomic_store(&bench.fakes[i].fails, ERR_UNREACHABLE);

	fake_sleep(HOUR / 2 + 60000);
	start(&bench);
	is_int(shows(&bench, 0), first, "a term that has not expired is shown after a restart");
	ok(is_state(&bench, 0, TERM_STALE) && bench.hidden == 0,
	   "the term becomes stale, and is not hidden");
	stop(&bench);

	fake_sleep(HOUR / 2);
	atomic_store(&bench.fakes[0].fails, ERR_NONE);
	atomic_store(&bench.fakes[0].blocks, true);
	start(&bench);
	is_int(shows(&bench, 0), 0, "a term that has expired is not shown after a restart");
	is_int(status_of(&bench, 0).state, TERM_EXPIRED, "the term is expired");
	ok(shows(&bench, 1) != 0, "on_expire = keep shows an expired term after a restart");
	is_int(status_of(&bench, 1).state, TERM_EXPIRED, "this term is expired too");
	is_int(bench.hidden, 0, "no name is removed");
	ok(wait_for(bench.fakes[0].waiting == 1), "a hidden term is updated at once");
	unsigned downloads = bench.fakes[0].downloads;
	atomic_store(&bench.fakes[0].blocks, false);
	ok(is_state(&bench, 0, TERM_FRESH), "the term is fresh when the source answers");
	ok(shows(&bench, 0) > first, "the term is shown again");
	is_int(bench.fakes[0].downloads, downloads, "the term is not downloaded again");
	stop(&bench);

	/* Over a restart there is only the wall clock. */
	atomic_fetch_sub(&fake_wall_ahead_ms, YEARS);
	start(&bench);
	ok(shows(&bench, 0) != 0,
	   "with a clock set back, the term counts as confirmed at the start");
	fake_sleep(HOUR + 1000);
	ok(wait_for(bench.hidden == 1), "the term expires max_stale after the start");
	stop(&bench);
	atomic_fetch_add(&fake_wall_ahead_ms, YEARS);
	temp_store_remove(&bench.temp);
}

/* Whether the next update is planned in about an interval, as the wall clock stands now. A term is
 * fresh as soon as it is published, which is before the plan is made. */
static bool is_planned(struct bench *bench, size_t i)
{
	int64_t interval_ms = bench->configs[i].refresh_interval_ms;
	int64_t in_ms = status_of(bench, i).next_check_at_ms - clock_wall_ms();

	return in_ms > interval_ms * 2 / 3 && in_ms <= interval_ms + 1000;
}

/* Without a restart, the wall clock matters for display only. */
static void test_wall_clock(void)
{
	struct bench bench;
	int64_t last_ms = 0;
	bool rises = true;

	set_up(&bench, 1);
	bench.configs[0].refresh_interval_ms = HOUR / 2;
	start(&bench);
	ok(is_state(&bench, 0, TERM_FRESH), "the term is fresh");
	const int64_t jumps[] = { YEARS, -2 * YEARS, YEARS };
	for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
		static const char *const tokens[] = { "a", "b", "c" };

		atomic_fetch_add(&fake_wall_ahead_ms, jumps[i]);
		ok(wait_for(is_planned(&bench, 0)),
		   "the next update is shown in the time of the new clock");
		is_int(status_of(&bench, 0).state, TERM_FRESH, "the term has not expired");
		bench.fakes[0].token = bench.fakes[0].body = tokens[i];
		is_int(ask(&bench, 0), UPDATE_UPDATED, "the source has a new version");
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(
			&bench.terms[0]);
		rises &= current->published_at_ms > last_ms;
		last_ms = current->published_at_ms;
	}
	ok(rises, "the time of publishing rises");
	is_int(bench.hidden, 0, "no name is removed");
	stop(&bench);
	temp_store_remove(&bench.temp);
}

/* Terms that became due during a long sleep are updated soon, but not all at once. */
static void test_sleep(void)
{
	struct bench bench;
	int64_t first_ms = INT64_MAX, last_ms = 0;
	bool all = true;

	set_up(&bench, N);
	for (size_t i = 0; i < N; i++) {
		bench.configs[i].max_stale_ms = 0;
		bench.configs[i].refresh_interval_ms = HOUR;
	}
	start(&bench);
	for (size_t i = 0; i < N; i++)
		all &= is_state(&bench, i, TERM_FRESH) && wait_for(is_planned(&bench, i));
	ok(all, "all terms are fresh");
	fake_sleep(8 * HOUR);
	int64_t woken_ms = clock_boot_ms();
	for (size_t i = 0; i < N; i++) {
		all &= wait_for(bench.fakes[i].calls == 2);
		int64_t asked_ms = bench.fakes[i].asked_at_ms;
		first_ms = asked_ms < first_ms ? asked_ms : first_ms;
		last_ms = asked_ms > last_ms ? asked_ms : last_ms;
	}
	ok(all, "each source is asked once after a sleep");
	ok(first_ms >= woken_ms && last_ms - first_ms > 1000,
	   "the requests are spread over %lld ms", (long long)(last_ms - first_ms));
	stop(&bench);
	temp_store_remove(&bench.temp);
}

/* A term that the source calls fresh for days is still updated before it expires. */
static void test_fresh_for(void)
{
	struct bench bench;

	set_up(&bench, 1);
	bench.fakes[0].fresh_for_ms = 100 * HOUR;
	start(&bench);
	ok(is_state(&bench, 0, TERM_FRESH), "the term is fresh");
	int64_t next_ms;
	ok(wait_for((next_ms = status_of(&bench, 0).next_check_at_ms - clock_wall_ms()) > 0) &&
		   next_ms <= HOUR / 2 + 1000,
	   "the next update is before the term expires");
	stop(&bench);
	temp_store_remove(&bench.temp);
}

int main(void)
{
	alarm(900);
	log_set_level(LOG_LEVEL_ERROR);
	test_keep();
	test_hide();
	test_hide_during_an_update();
	test_race();
	test_restart();
	test_wall_clock();
	test_sleep();
	test_fresh_for();
	return tap_done();
}
