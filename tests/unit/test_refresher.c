/* refresher, thread_pool, watch: when terms are updated. Fake sources, a real store. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/util.h"
#include "fake_fetcher.h"
#include "fetch/refresher.h"
#include "load_term.h"

#define FOREVER INT64_MAX
#define DAYS_MS INT64_C(864000000)

static atomic_uint n_steps; /* of all statements */

/* Replaces SQLite's own, and calls it. */
int sqlite3_step(sqlite3_stmt *stmt)
{
	int (*original)(sqlite3_stmt *) = (int (*)(sqlite3_stmt *))dlsym(RTLD_NEXT, "sqlite3_step");

	atomic_fetch_add(&n_steps, 1);
	return original(stmt);
}

struct bench {
	size_t n;
	unsigned n_steps; /* of statements, by refresher_new() */
	bool is_early;	  /* an update of the first term is requested before refresher_start() */
	bool is_slow; /* publishing blocks until is_open; bench.publishing counts those that wait */
	atomic_bool is_open;
	atomic_uint publishing;
	struct temp_store temp;
	struct cancel cancel;
	struct fake *fakes;
	struct source *sources;
	struct term_config *configs;
	struct term *terms;
	char (*names)[24];
	struct refresher *refresher;
	struct err err;
};

/* n terms of one source each; the tests change configs and fakes before start(). */
static void set_up(struct bench *bench, size_t n)
{
	*bench = (struct bench){
		.n = n,
		.fakes = calloc(n, sizeof(struct fake)),
		.sources = calloc(n, sizeof(struct source)),
		.configs = calloc(n, sizeof(struct term_config)),
		.terms = calloc(n, sizeof(struct term)),
		.names = calloc(n, sizeof(*bench->names)),
	};
	for (size_t i = 0; i < n; i++) {
		snprintf(bench->names[i], sizeof(bench->names[i]), "t%05zu", i);
		bench->fakes[i] = (struct fake)FAKE_INIT;
		bench->fakes[i].token = "1";
		bench->sources[i] = fake_source(&fake_ops, &bench->fakes[i], i + 1);
		bench->configs[i] = (struct term_config){ .name = bench->names[i],
							  .sources = &bench->sources[i],
							  .n_sources = 1,
							  .refresh_interval_ms = CONFIG_NEVER,
							  .attempt_timeout_ms = 600000,
							  .max_size_bytes = 1 << 20,
							  .history = 1 };
	}
	if (cancel_init(&bench->cancel, &bench->err) < 0)
		abort();
}

static int publish_slowly(void *arg, struct term *term, struct snapshot *snapshot, struct err *err)
{
	struct bench *bench = arg;

	atomic_fetch_add(&bench->publishing, 1);
	while (!atomic_load(&bench->is_open))
		poll(NULL, 0, 2);
	return fake_publish(&bench->temp, term, snapshot, err);
}

static void start(struct bench *bench)
{
	const char **tokens = calloc(bench->n, sizeof(char *));
	uint64_t *fingerprints = calloc(bench->n, sizeof(uint64_t));
	struct err *err = &bench->err;

	temp_store_open(&bench->temp);
	for (size_t i = 0; i < bench->n; i++) {
		struct store_term loaded = { .snapshot = NULL };
		if (load_term(bench->temp.store, bench->names[i], &loaded, err) < 0 ||
		    term_init(&bench->terms[i], &bench->configs[i], loaded.snapshot, loaded.token,
			      err) < 0)
			abort();
		tokens[i] = loaded.token;
		fingerprints[i] = loaded.fingerprint;
	}
	struct refresher_setup setup = {
		.terms = bench->terms,
		.tokens = tokens,
		.fingerprints = fingerprints,
		.n_terms = bench->n,
		.env = { .store = bench->temp.store,
			 .cancel = &bench->cancel,
			 .publish = bench->is_slow ? publish_slowly : fake_publish,
			 .publish_arg = bench->is_slow ? (void *)bench : &bench->temp },
	};
	unsigned before = atomic_load(&n_steps);
	int result = refresher_new(&bench->refresher, &setup, err);
	bench->n_steps = atomic_load(&n_steps) - before;
	if (result == 0)
		is_int(refresher_threads(bench->refresher), 1, "one thread waits for the start");
	if (result == 0 && bench->is_early)
		refresher_request(bench->refresher, 0);
	if (result < 0 || refresher_start(bench->refresher, err) < 0) {
		printf("Bail out! %s\n", err->msg);
		abort();
	}
	for (size_t i = 0; i < bench->n; i++)
		free((char *)tokens[i]);
	free(tokens);
	free(fingerprints);
}

/* Ends as SIGTERM does; the store stays. */
static void stop(struct bench *bench)
{
	cancel_request(&bench->cancel);
	refresher_stop(bench->refresher);
	is_int(refresher_threads(bench->refresher), 0, "no thread is left");
	refresher_free(bench->refresher);
	for (size_t i = 0; i < bench->n; i++)
		term_release(&bench->terms[i]);
	store_close(bench->temp.store);
	bench->temp.store = NULL;
	cancel_release(&bench->cancel);
	if (cancel_init(&bench->cancel, &bench->err) < 0)
		abort();
}

static void tear_down(struct bench *bench)
{
	temp_store_remove(&bench->temp);
	cancel_release(&bench->cancel);
	free(bench->fakes);
	free(bench->sources);
	free(bench->configs);
	free(bench->terms);
	free(bench->names);
}

static struct term_status status_of(struct bench *bench, size_t i)
{
	struct term_status status;

	term_status(&bench->terms[i], &status);
	term_status_release(&status);
	return status;
}

/* From now; TERM_NO_TIME if none is planned. */
static int64_t next_in_ms(struct bench *bench, size_t i)
{
	int64_t at_ms = status_of(bench, i).next_check_at_ms;

	return at_ms == TERM_NO_TIME ? TERM_NO_TIME : at_ms - clock_wall_ms();
}

static enum update_outcome request_and_wait(struct bench *bench, size_t i)
{
	enum update_outcome outcome = UPDATE_CANCELED;
	uint64_t ticket = refresher_request(bench->refresher, i);

	refresher_wait(bench->refresher, i, ticket, FOREVER, &outcome);
	return outcome;
}

static void test_first_updates(void)
{
	struct bench bench;

	set_up(&bench, 4);
	bench.configs[1].lazy_init = true;
	bench.configs[2].refresh_interval_ms = DAYS_MS;
	atomic_store(&bench.fakes[3].fails, ERR_NOT_FOUND);
	start(&bench);
	is_int(refresher_wait_first(bench.refresher, FOREVER), 0,
	       "all eager terms have had an update");
	is_int(status_of(&bench, 0).state, TERM_FRESH, "one has succeeded");
	is_int(status_of(&bench, 3).failed_total, 1, "one has failed");
	ok(wait_for(status_of(&bench, 1).state == TERM_FRESH), "a lazy term is updated too");
	is_int(next_in_ms(&bench, 0), TERM_NO_TIME,
	       "refresh_interval = never: no update is planned");
	is_int(next_in_ms(&bench, 3), TERM_NO_TIME, "nor after a lasting failure");
	int64_t next_ms = next_in_ms(&bench, 2);
	ok(next_ms > DAYS_MS / 10 * 9 - 60000 && next_ms <= DAYS_MS,
	   "the next one is after the interval, shortened by up to a tenth");
	stop(&bench);

	bench.configs[2].lazy_init = true;
	bench.sources[0].fingerprint = 77;
	bench.configs[1].lazy_init = false;
	for (size_t i = 0; i < 4; i++)
		atomic_store(&bench.fakes[i].calls, 0);
	start(&bench);
	is_int(refresher_wait_first(bench.refresher, FOREVER), 0, "after a restart");
	is_int(bench.fakes[0].calls, 1,
	       "a snapshot of a source no longer configured is replaced at once");
	ok(wait_for(bench.fakes[1].calls == 1), "never, eager, with a snapshot: one update");
	next_ms = next_in_ms(&bench, 2);
	ok(next_ms > 0 && next_ms <= DAYS_MS, "lazy, with a snapshot: within the interval");
	is_int(bench.fakes[2].calls, 0, "not at once");
	stop(&bench);
	tear_down(&bench);
}

static void test_retry(void)
{
	struct bench bench;

	set_up(&bench, 4);
	for (size_t i = 0; i < 3; i++)
		atomic_store(&bench.fakes[i].fails, ERR_UNREACHABLE);
	atomic_store(&bench.fakes[2].fails, ERR_BUSY);
	bench.fakes[2].retry_after_ms = 90000;
	bench.configs[1].refresh_interval_ms = 20;
	bench.configs[2].refresh_interval_ms = 20;
	bench.fakes[3].fresh_for_ms = 123456;
	start(&bench);
	refresher_wait_first(bench.refresher, FOREVER);
	ok(status_of(&bench, 0).next_check_at_ms != TERM_NO_TIME,
	   "never: a passing failure is retried");
	ok(wait_for(bench.fakes[1].calls > 20), "failures never stop the retries");
	atomic_store(&bench.fakes[1].fails, ERR_NONE);
	ok(wait_for(status_of(&bench, 1).state == TERM_FRESH), "until it succeeds");
	is_int(status_of(&bench, 1).failures, 0, "the count of failures starts over");
	atomic_store(&bench.fakes[0].fails, ERR_NONE);
	ok(wait_for(status_of(&bench, 0).state == TERM_FRESH), "never: it succeeds too");
	ok(wait_for(next_in_ms(&bench, 0) == TERM_NO_TIME), "and no update is planned");
	is_int(bench.fakes[2].calls, 1, "Retry-After is obeyed");
	int64_t next_ms = next_in_ms(&bench, 2);
	ok(next_ms > 60000 && next_ms < 99000, "and the status shows it");
	next_ms = next_in_ms(&bench, 3);
	ok(next_ms > 60000 && next_ms <= 123456, "fresh_for replaces the interval");
	is_int(request_and_wait(&bench, 2), UPDATE_FAILED, "a request ignores the back-off");
	is_int(bench.fakes[2].calls, 2, "and makes one update");
	stop(&bench);
	tear_down(&bench);
}

static void test_request(void)
{
	enum update_outcome outcome = UPDATE_FAILED;
	struct bench bench;
	struct fake *fake;

	set_up(&bench, 1);
	fake = &bench.fakes[0];
	bench.configs[0].lazy_init = true;
	start(&bench);
	ok(wait_for(status_of(&bench, 0).state == TERM_FRESH), "the first update");
	is_int(request_and_wait(&bench, 0), UPDATE_UNCHANGED, "a request");
	atomic_store(&fake->blocks, true);
	uint64_t first = refresher_request(bench.refresher, 0);
	ok(wait_for(fake->waiting == 1), "an update runs");
	unsigned calls = fake->calls;
	uint64_t second = refresher_request(bench.refresher, 0);
	ok(second > first, "a request meanwhile asks for another one");
	is_int(refresher_request(bench.refresher, 0), second, "and a third shares its ticket");
	ok(!refresher_wait(bench.refresher, 0, first, clock_boot_ms() + 20, &outcome),
	   "waiting ends at the deadline");
	is_int(outcome, UPDATE_FAILED, "and leaves the outcome alone");
	atomic_store(&fake->blocks, false);
	ok(refresher_wait(bench.refresher, 0, second, FOREVER, &outcome), "both end");
	is_int(outcome, UPDATE_UNCHANGED, "unchanged");
	is_int(fake->calls, calls + 1, "the second began after the request");
	stop(&bench);
	tear_down(&bench);
}

struct waiter {
	struct bench *bench;
	uint64_t ticket;
	enum update_outcome outcome;
	size_t waiting;
};

static void *wait_for_update(void *arg)
{
	struct waiter *waiter = arg;

	refresher_wait(waiter->bench->refresher, 0, waiter->ticket, FOREVER, &waiter->outcome);
	waiter->waiting = refresher_wait_first(waiter->bench->refresher, FOREVER);
	return NULL;
}

static void test_cancel(void)
{
	struct bench bench;
	pthread_t thread;

	set_up(&bench, 2);
	atomic_store(&bench.fakes[0].blocks, true);
	start(&bench);
	ok(wait_for(bench.fakes[0].waiting == 1), "an update hangs");
	is_int(refresher_wait_first(bench.refresher, clock_boot_ms() + 300), 1,
	       "one term is missing at the deadline");
	struct waiter waiter = { .bench = &bench,
				 .ticket = refresher_request(bench.refresher, 0),
				 .outcome = UPDATE_FAILED };
	if (pthread_create(&thread, NULL, wait_for_update, &waiter) != 0)
		abort();
	cancel_request(&bench.cancel);
	pthread_join(thread, NULL);
	is_int(waiter.outcome, UPDATE_CANCELED, "cancellation ends the waiting");
	is_int(waiter.waiting, 1, "and the first update is still missing");
	stop(&bench);
	tear_down(&bench);
}

/* 300 terms of a host that never answers beside 10 good ones. */
static void test_black_hole(void)
{
	struct bench bench;
	unsigned waiting = 0;
	bool all_good = true;

	set_up(&bench, 310);
	for (size_t i = 0; i < 310; i++) {
		bench.configs[i].refresh_interval_ms = 20;
		bench.fakes[i].origin = i % 31 == 7 ? "http://good" : "http://hole";
		atomic_store(&bench.fakes[i].blocks, i % 31 != 7);
	}
	start(&bench);
	for (size_t i = 7; i < 310; i += 31)
		all_good &= wait_for(bench.fakes[i].calls >= 10);
	ok(all_good, "the terms of the good host are updated");
	for (size_t i = 0; i < 310; i++)
		waiting += atomic_load(&bench.fakes[i].waiting);
	is_int(waiting, 64, "a limited number of updates waits for the other host");
	ok(refresher_threads(bench.refresher) <= 64 + 10 + 1,
	   "there are only as many threads as needed (%zu)", refresher_threads(bench.refresher));
	is_int(refresher_wait_first(bench.refresher, clock_boot_ms() + 10), 300,
	       "all 300 terms of that host are missing");

	/* The host answers: the queued updates get places. */
	for (size_t i = 0; i < 310; i++)
		atomic_store(&bench.fakes[i].blocks, false);
	is_int(refresher_wait_first(bench.refresher, FOREVER), 0, "all terms are updated");
	stop(&bench);
	tear_down(&bench);
}

/* 20 hosts that never answer, with 40 terms each, beside 10 good ones. */
static void test_many_black_holes(void)
{
	enum { HOLES = 20, GOOD = 10, TERMS = HOLES * 41 };
	char origins[HOLES + GOOD][24];
	struct bench bench;
	bool all_good = true;

	set_up(&bench, TERMS + GOOD);
	for (size_t i = 0; i < HOLES + GOOD; i++)
		snprintf(origins[i], sizeof(origins[i]), "http://%zu", i);
	for (size_t i = 0; i < TERMS + GOOD; i++) {
		bool is_good = i >= TERMS;
		bench.configs[i].refresh_interval_ms = 20;
		bench.fakes[i].origin = origins[is_good ? HOLES + i - TERMS : i % HOLES];
		atomic_store(&bench.fakes[i].blocks, !is_good);
	}
	start(&bench);
	for (size_t i = TERMS; i < TERMS + GOOD; i++)
		all_good &= wait_for(bench.fakes[i].calls >= 10);
	ok(all_good, "terms of good hosts are updated beside many that hang");
	stop(&bench);
	tear_down(&bench);
}

/* A source that is quicker than the store and the publisher has to wait for them. */
static void test_slow_publishing(void)
{
	enum { PLACES = 64, MOST = PLACES + ORIGIN_STORING_MAX };
	struct bench bench;

	set_up(&bench, 3 * MOST);
	bench.is_slow = true;
	for (size_t i = 0; i < bench.n; i++)
		bench.fakes[i].origin = "http://quick";
	start(&bench);
	ok(wait_for(bench.publishing == MOST), "updates wait to be published");
	is_int(refresher_threads(bench.refresher), MOST, "and no more threads are started");
	atomic_store(&bench.is_open, true);
	is_int(refresher_wait_first(bench.refresher, FOREVER), 0, "until all terms are updated");
	stop(&bench);
	tear_down(&bench);
}

/* 300 terms whose host fails at once, and whose fallback, which has no origin, never answers,
 * beside one of another host. */
static void test_hanging_fallbacks(void)
{
	enum { HANGING = 300 };
	struct bench bench;
	struct fake *fallbacks = calloc(HANGING, sizeof(*fallbacks));
	struct source(*pairs)[2] = calloc(HANGING, sizeof(*pairs));
	unsigned waiting = 0;

	set_up(&bench, HANGING + 1);
	for (size_t i = 0; i < HANGING; i++) {
		bench.fakes[i].origin = "http://down";
		atomic_store(&bench.fakes[i].fails, ERR_UNREACHABLE);
		fallbacks[i] = (struct fake)FAKE_INIT;
		atomic_store(&fallbacks[i].blocks, true);
		pairs[i][0] = bench.sources[i];
		pairs[i][1] = fake_source(&fake_ops, &fallbacks[i], HANGING + 2 + i);
		bench.configs[i].sources = pairs[i];
		bench.configs[i].n_sources = 2;
	}
	bench.fakes[HANGING].origin = "http://good";
	bench.configs[HANGING].refresh_interval_ms = 20;
	start(&bench);
	ok(wait_for(({
		   waiting = 0;
		   for (size_t i = 0; i < HANGING; i++)
			   waiting += atomic_load(&fallbacks[i].waiting);
		   waiting == HANGING;
	   })),
	   "all of their fallbacks are asked (%u)", waiting);
	unsigned calls = atomic_load(&bench.fakes[HANGING].calls);
	ok(wait_for(atomic_load(&bench.fakes[HANGING].calls) > calls + 10),
	   "the term of another host is updated");
	stop(&bench);
	tear_down(&bench);
	free(pairs);
	free(fallbacks);
}

static void test_threads_end(void)
{
	struct bench bench;

	set_up(&bench, 40);
	for (size_t i = 0; i < 40; i++)
		atomic_store(&bench.fakes[i].blocks, true);
	start(&bench);
	ok(wait_for(refresher_threads(bench.refresher) == 40), "each hanging update has a thread");
	for (size_t i = 0; i < 40; i++)
		atomic_store(&bench.fakes[i].blocks, false);
	ok(wait_for(refresher_threads(bench.refresher) == 1), "idle threads end, except for one");
	is_int(request_and_wait(&bench, 0), UPDATE_UNCHANGED, "which runs the next update");
	stop(&bench);
	tear_down(&bench);
}

static void write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
}

/* Whether the source was asked since the last call. */
static bool was_noticed(struct bench *bench, size_t i, unsigned *calls)
{
	bool noticed = wait_for(atomic_load(&bench->fakes[i].calls) > *calls);
	unsigned before;

	/* Wait for the end of the burst. */
	do {
		before = atomic_load(&bench->fakes[i].calls);
		usleep(50000);
	} while (atomic_load(&bench->fakes[i].calls) != before);
	*calls = before;
	return noticed;
}

static void test_watch(void)
{
	char dir[] = "/tmp/rptfs-unit-watch-XXXXXX";
	struct bench bench;
	unsigned plain = 0, missing = 0, link = 0;

	if (!mkdtemp(dir) || chdir(dir) < 0 || mkdir("d", 0700) < 0 || mkdir("k", 0700) < 0 ||
	    mkdir("k/v1", 0700) < 0 || symlink("v1", "k/..data") < 0 ||
	    symlink("..data/f", "k/f") < 0)
		abort();
	char paths[3][64];
	snprintf(paths[0], sizeof(paths[0]), "%s/d/f", dir);
	snprintf(paths[1], sizeof(paths[1]), "%s/m/f", dir);
	snprintf(paths[2], sizeof(paths[2]), "%s/k/f", dir);
	set_up(&bench, 3);
	for (size_t i = 0; i < 3; i++)
		bench.fakes[i].path = paths[i];
	write_file("d/f", "1");
	start(&bench);
	refresher_wait_first(bench.refresher, FOREVER);
	was_noticed(&bench, 0, &plain);
	was_noticed(&bench, 1, &missing);
	was_noticed(&bench, 2, &link);

	write_file("d/f", "2");
	ok(was_noticed(&bench, 0, &plain), "a write is noticed");
	write_file("d/g", "3");
	rename("d/g", "d/f");
	ok(was_noticed(&bench, 0, &plain), "so is a replacement by rename");
	unlink("d/f");
	ok(was_noticed(&bench, 0, &plain), "and a removal");
	write_file("d/g", "4");
	if (symlink("g", "d/f") < 0)
		abort();
	ok(was_noticed(&bench, 0, &plain), "and a new link");
	write_file("d/other", "5");
	ok(was_noticed(&bench, 0, &plain), "a link counts as changed with any event beside it");

	if (mkdir("k/v2", 0700) < 0 || symlink("v2", "k/..tmp") < 0)
		abort();
	was_noticed(&bench, 2, &link);
	rename("k/..tmp", "k/..data");
	ok(was_noticed(&bench, 2, &link), "Kubernetes' swap of a link is noticed");
	ok(link <= 4, "a burst makes one update (%u in all)", link);

	if (mkdir("m", 0700) < 0)
		abort();
	write_file("m/f", "1");
	request_and_wait(&bench, 1);
	missing++;
	ok(was_noticed(&bench, 1, &missing), "a missing directory is found by the next update");
	rename("m/f", "m/g");
	ok(was_noticed(&bench, 1, &missing), "and watched");
	rename("m", "n");
	ok(was_noticed(&bench, 1, &missing), "its removal is noticed");
	if (mkdir("m", 0700) < 0)
		abort();
	request_and_wait(&bench, 1);
	missing++;
	was_noticed(&bench, 1, &missing);
	write_file("m/f", "2");
	ok(was_noticed(&bench, 1, &missing), "and its successor is watched");
	stop(&bench);
	tear_down(&bench);
	char command[64];
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (chdir("/") < 0 || system(command) != 0)
		printf("# %s stays\n", dir);
}

static void test_refused_tokens_are_read_with_one_query(void)
{
	struct bench bench;

	set_up(&bench, 300);
	bench.configs[7].min_size_bytes = 1 << 10;
	start(&bench);
	refresher_wait_first(bench.refresher, FOREVER);
	is_int(status_of(&bench, 7).error_kind, ERR_BAD_DATA, "one of 300 tokens is refused");
	stop(&bench);

	unsigned n_downloads = bench.fakes[7].downloads;
	start(&bench);
	ok(bench.n_steps > 0 && bench.n_steps <= 2, "the next start steps %u statements",
	   bench.n_steps);
	request_and_wait(&bench, 7);
	is_int(bench.fakes[7].downloads, n_downloads, "and knows what was refused");
	stop(&bench);
	tear_down(&bench);
}

/* The control socket answers before the start is over. */
static void test_a_request_before_the_start_is_not_put_off(void)
{
	struct bench bench;

	set_up(&bench, 1);
	bench.configs[0].lazy_init = true;
	bench.configs[0].refresh_interval_ms = DAYS_MS;
	start(&bench);
	ok(wait_for(status_of(&bench, 0).state == TERM_FRESH), "a lazy term is updated");
	stop(&bench);
	bench.is_early = true;
	start(&bench);
	ok(wait_for(status_of(&bench, 0).state == TERM_FRESH), "and after a restart at once");
	stop(&bench);
	tear_down(&bench);
}

int main(void)
{
	alarm(900); /* no test hangs for ever */
	log_set_level(LOG_LEVEL_ERROR);
	test_first_updates();
	test_retry();
	test_request();
	test_cancel();
	test_black_hole();
	test_many_black_holes();
	test_slow_publishing();
	test_hanging_fallbacks();
	test_threads_end();
	test_watch();
	test_refused_tokens_are_read_with_one_query();
	test_a_request_before_the_start_is_not_put_off();
	return tap_done();
}
