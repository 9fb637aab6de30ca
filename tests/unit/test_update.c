/* update, attempt: with fake sources and a real store. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/util.h"
#include "fake_fetcher.h"
#include "fetch/forward_only.h"
#include "fetch/sink.h"
#include "load_term.h"

#define SOURCES	   3
#define NEXT_IN_MS 58200
#define ORIGIN_A   "http://a:80"
#define ORIGIN_B   "http://b:80"
#define PLACES	   64 /* at one origin, if no other one needs any */

/* The boot clock; 0: the real one. */
static _Atomic time_t boot_s;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_BOOTTIME || !boot_s)
		return (int)syscall(SYS_clock_gettime, id, ts);
	*ts = (struct timespec){ .tv_sec = boot_s };
	return 0;
}

/* One term, and everything that its updates need. */
struct bench {
	struct temp_store temp;
	struct fake fakes[SOURCES];
	struct source sources[SOURCES];
	struct term_config config;
	struct term term;
	struct term_memory *memory;
	struct fetch_env env;
	struct cancel cancel;
	struct err err;

	unsigned published;
	bool is_unpublishable;
	bool is_forced;
	struct origin_places *places;
	struct update update;
};

static int publish(void *arg, struct term *term, struct snapshot *snapshot, struct err *err)
{
	struct bench *bench = arg;

	if (bench->is_unpublishable) {
		snapshot_unref(snapshot);
		return err_set(err, ERR_INTERNAL, "no room for the name");
	}
	bench->published++;
	return fake_publish(&bench->temp, term, snapshot, err);
}

static void never_inherited(void *arg, struct origin_waiter *waiter)
{
	(void)arg, (void)waiter;
	abort();
}

/* How many of the places at an origin are taken. */
static unsigned taken(struct bench *bench, const char *origin)
{
	struct origin_place free_ones[PLACES] = { 0 };
	unsigned n = 0;

	while (n < PLACES && origin_place_take(bench->places, origin, &free_ones[n]))
		n++;
	for (unsigned i = 0; i < n; i++)
		origin_place_leave(&free_ones[i]);
	return PLACES - n;
}

static int add_refused(void *arg, const struct store_refusal *refusal, struct err *err)
{
	(void)err;
	term_memory_refuse(arg, refusal);
	return 0;
}

/* Does what a start of the daemon does: everything comes from the store. */
static void load(struct bench *bench)
{
	struct store_term loaded = { .snapshot = NULL };
	struct err *err = &bench->err;

	if (load_term(bench->temp.store, "t", &loaded, err) < 0 ||
	    term_init(&bench->term, &bench->config, loaded.snapshot, loaded.token, err) < 0 ||
	    term_memory_new(&bench->memory, &bench->config, loaded.token, loaded.fingerprint, err) <
		    0 ||
	    store_list_refused(bench->temp.store, add_refused, bench->memory, err) < 0)
		abort();
	free(loaded.token);
}

static void unload(struct bench *bench)
{
	term_memory_free(bench->memory);
	term_release(&bench->term);
}

static void restart(struct bench *bench)
{
	unload(bench);
	store_close(bench->temp.store);
	temp_store_open(&bench->temp);
	bench->env.store = bench->temp.store;
	load(bench);
}

static void set_up(struct bench *bench, size_t n_sources)
{
	*bench = (struct bench){
		.fakes = { FAKE_INIT, FAKE_INIT, FAKE_INIT },
		.config = { .name = (char *)"t",
			    .sources = bench->sources,
			    .n_sources = n_sources,
			    .refresh_interval_ms = 60000,
			    .attempt_timeout_ms = 600000,
			    .max_size_bytes = 1 << 20,
			    .history = 3 },
	};
	static const char *const names[SOURCES] = { "http://a/t", "http://b/t", "http://c/t" };
	for (size_t i = 0; i < SOURCES; i++) {
		bench->fakes[i].name = names[i];
		bench->fakes[i].token = "\"1\"";
		bench->sources[i] = fake_source(&fake_ops, &bench->fakes[i], 100 + i);
	}
	if (cancel_init(&bench->cancel, &bench->err) < 0)
		abort();
	struct origin *origin;
	if (origin_places_new(&bench->places, never_inherited, NULL, &bench->err) < 0 ||
	    origin_places_add(bench->places, ORIGIN_A, &origin, &bench->err) < 0 ||
	    origin_places_add(bench->places, ORIGIN_B, &origin, &bench->err) < 0)
		abort();
	temp_store_open(&bench->temp);
	bench->env = (struct fetch_env){
		.store = bench->temp.store,
		.cancel = &bench->cancel,
		.publish = publish,
		.publish_arg = bench,
		.places = bench->places,
	};
	load(bench);
}

static void tear_down(struct bench *bench)
{
	unload(bench);
	cancel_release(&bench->cancel);
	origin_places_free(bench->places);
	temp_store_remove(&bench->temp);
}

static enum update_outcome run(struct bench *bench)
{
	struct update *update = &bench->update;
	struct origin_place place;

	if (!origin_place_take(bench->places, bench->fakes[0].origin, &place))
		abort();
	update_run(update, bench->memory, &bench->term, bench->is_forced, &bench->env, &place);
	ok(!place.origin, "the attempt took over the place at the first origin");
	update_conclude(update, NEXT_IN_MS, clock_boot_ms() + NEXT_IN_MS);
	bench->err = update->err;
	return update->outcome;
}

/* Sets what the source has from now on. */
static void offer(struct fake *fake, const char *token, const char *body, int64_t modified_ms)
{
	atomic_store(&fake->fails, ERR_NONE);
	fake->token = token;
	fake->body = body;
	fake->last_modified_ms = modified_ms;
}

static bool serves(struct bench *bench, const char *body, const char *version, const char *source)
{
	struct snapshot *current = term_current(&bench->term);
	char bytes[256] = { 0 };

	if (!current)
		return !body;
	_cleanup_close_ int fd = store_open_bytes(bench->temp.store, current, &bench->err);
	bool as_expected = body && fd >= 0 && read(fd, bytes, sizeof(bytes) - 1) >= 0 &&
			   strcmp(bytes, body) == 0 && strcmp(current->version, version) == 0 &&
			   strcmp(current->source, source) == 0;
	if (!as_expected)
		printf("# serves \"%s\", version %s of %s\n", bytes, current->version,
		       current->source);
	snapshot_unref(current);
	return as_expected;
}

static bool has_status(struct bench *bench, enum term_state state, unsigned failures,
		       const char *source_version)
{
	struct term_status status;

	term_status(&bench->term, &status);
	bool as_expected = status.state == state && status.failures == failures &&
			   (!source_version ||
			    (status.source_version &&
			     strcmp(status.source_version, source_version) == 0));
	if (!as_expected)
		printf("# state %s, %u failures, source_version %s, error %s\n",
		       term_state_name(status.state), status.failures,
		       status.source_version ? status.source_version : "(null)",
		       status.last_error ? status.last_error : "(null)");
	term_status_release(&status);
	return as_expected;
}

static void test_one_source(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	fake->origin = ORIGIN_A;
	offer(fake, "W/\"1\"", "one", 1000);
	is_int(run(&bench), UPDATE_UPDATED, "the first update gets a new version");
	ok(serves(&bench, "one", "1", "http://a/t"),
	   "readers get the body under the version without quotes");
	is_int(bench.published, 1, "it was published once");
	is_int(taken(&bench, ORIGIN_A), 0, "the place at the origin was given back");
	is_int(run(&bench), UPDATE_UNCHANGED, "the next update finds the term unchanged");
	is_str(fake->have, "W/\"1\"", "the request was conditional on the token");
	is_int(fake->downloads, 1, "nothing more was downloaded");
	ok(has_status(&bench, TERM_FRESH, 0, "1"), "the term is fresh");

	offer(fake, "\"2\"", "one", 2000);
	is_int(run(&bench), UPDATE_UNCHANGED, "another token with the same bytes means unchanged");
	is_int(bench.published, 1, "nothing was published");
	ok(has_status(&bench, TERM_FRESH, 0, "2"), "the new source version is shown");
	ok(serves(&bench, "one", "1", "http://a/t"), "the version of the snapshot stays the same");
	restart(&bench);
	ok(!bench.memory->is_stranger, "after a restart the source of the snapshot is known");
	is_int(run(&bench), UPDATE_UNCHANGED, "unchanged");
	is_str(fake->have, "\"2\"", "the last token was remembered");
	is_int(fake->downloads, 2, "nothing more was downloaded");

	atomic_store(&fake->fails, ERR_UNREACHABLE);
	is_int(run(&bench), UPDATE_FAILED, "an unreachable source fails the update");
	is_str(bench.err.msg, "http://a/t: unreachable", "the message names source and reason");
	ok(has_status(&bench, TERM_STALE, 1, "2"), "the term is stale");
	ok(serves(&bench, "one", "1", "http://a/t"), "readers still get the last good version");
	atomic_store(&fake->fails, ERR_NOT_FOUND);
	run(&bench);
	ok(has_status(&bench, TERM_GONE, 2, NULL), "gone");
	offer(fake, "\"3\"", "three", 500);
	is_int(run(&bench), UPDATE_UPDATED, "the authority may go back to an older date");
	ok(serves(&bench, "three", "3", "http://a/t"), "the body is taken");
	tear_down(&bench);
}

static void test_stranger(void)
{
	struct bench bench;

	set_up(&bench, 1);
	offer(&bench.fakes[0], "\"1\"", "one", 1000);
	run(&bench);
	bench.sources[0].fingerprint = 7;
	restart(&bench);
	ok(bench.memory->is_stranger,
	   "the snapshot of a source that is not configured is a stranger");
	bench.config.backwards = BACKWARDS_REFUSE;
	offer(&bench.fakes[0], "\"1\"", "new one", 10);
	is_int(run(&bench), UPDATE_UPDATED, "the old token and date are ignored");
	ok(!bench.memory->is_stranger, "the new snapshot is from a configured source");
	tear_down(&bench);
}

static void test_no_token(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	offer(fake, NULL, "abc", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UPDATED, "a source without tokens is accepted");
	ok(serves(&bench, "abc", "sha256:ba7816bf8f01cfea", "http://a/t"),
	   "the digest is the version");
	is_int(run(&bench), UPDATE_UNCHANGED, "the same digest means unchanged");
	restart(&bench);
	is_int(run(&bench), UPDATE_UNCHANGED, "this is so after a restart too");
	is_str(fake->have, "", "the digest was not used as a token");
	ok(has_status(&bench, TERM_FRESH, 0, "sha256:ba7816bf8f01cfea"),
	   "the digest is the shown version");
	offer(fake, NULL, "", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UPDATED, "an empty body is accepted");
	ok(serves(&bench, "", "sha256:e3b0c44298fc1c14", "http://a/t"),
	   "readers get an empty file");
	tear_down(&bench);
}

static void test_plain_fetcher(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	bench.sources[0].type = &plain_ops.type;
	offer(fake, "1", "one", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UPDATED, "a fetcher without conditional download is accepted");
	is_int(fake->calls, 1, "the first update does not request the version");
	is_int(run(&bench), UPDATE_UNCHANGED, "an equal version means unchanged");
	is_int(fake->downloads, 1, "nothing more was downloaded");
	fake->token = "2";
	fake->body = "two";
	is_int(run(&bench), UPDATE_UPDATED, "the body is downloaded when the version differs");
	fake->token = "3";
	atomic_store(&fake->fails, ERR_BAD_DATA);
	run(&bench);
	unsigned downloads = fake->downloads;
	is_int(run(&bench), UPDATE_FAILED, "a body above max_size is refused");
	is_int(fake->downloads, downloads, "the refused body is not downloaded again");
	tear_down(&bench);
}

static void test_refused(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 2);
	offer(fake, "\"1\"", "one", 1000);
	run(&bench);
	offer(fake, "\"2\"", NULL, 2000);
	fake->body_bytes = (1 << 20) + 1;
	is_int(run(&bench), UPDATE_FAILED, "a body above max_size fails the update");
	is_int(bench.err.kind, ERR_BAD_DATA, "this is bad data");
	ok(strstr(bench.err.msg, "max_size"), "the message names the limit: %s", bench.err.msg);
	is_int(bench.fakes[1].calls, 0, "a refused body does not fail over");
	unsigned downloads = fake->downloads;
	is_int(run(&bench), UPDATE_FAILED, "the next update fails too");
	is_str(fake->have, "\"2\"", "the request was conditional on the refused token");
	ok(strstr(bench.err.msg, "max_size"), "the message still names the limit");
	restart(&bench);
	is_int(run(&bench), UPDATE_FAILED, "the update after a restart fails too");
	is_int(fake->downloads, downloads, "the refused body was not downloaded again");
	ok(has_status(&bench, TERM_STALE, 1, NULL), "stale");
	ok(serves(&bench, "one", "1", "http://a/t"), "readers still get the last good version");
	bench.config.max_size_bytes = 1 << 21;
	restart(&bench);
	is_int(run(&bench), UPDATE_UPDATED, "a changed limit makes the body acceptable");
	atomic_store(&fake->fails, ERR_BAD_DATA);
	fake->token = "\"3\"";
	run(&bench);
	offer(fake, "\"4\"", "four", 3000);
	is_int(run(&bench), UPDATE_UPDATED, "a new token is downloaded");
	restart(&bench);
	is_int(run(&bench), UPDATE_UNCHANGED, "no refusal is remembered after a success");
	tear_down(&bench);
}

static void test_too_small(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 2);
	bench.config.min_size_bytes = 3;
	offer(fake, "\"1\"", "one", 1000);
	is_int(run(&bench), UPDATE_UPDATED, "a body of min_size bytes is accepted");
	offer(fake, "\"2\"", "no", 2000);
	is_int(run(&bench), UPDATE_FAILED, "a body below min_size fails the update");
	is_int(bench.err.kind, ERR_BAD_DATA, "this is bad data");
	ok(strstr(bench.err.msg, "2 bytes, less than min_size (3 bytes)"), "%s", bench.err.msg);
	is_int(bench.fakes[1].calls, 0, "a body that is too small does not fail over");
	unsigned downloads = fake->downloads;
	restart(&bench);
	is_int(run(&bench), UPDATE_FAILED, "the update after a restart fails too");
	is_int(fake->downloads, downloads, "the refused body was not downloaded again");
	ok(serves(&bench, "one", "1", "http://a/t"), "readers still get the last good version");
	tear_down(&bench);
}

static void test_failover(void)
{
	struct bench bench;
	struct fake *a = &bench.fakes[0], *b = &bench.fakes[1];

	set_up(&bench, 2);
	b->origin = ORIGIN_B;
	offer(a, "\"a1\"", "one", 1000);
	offer(b, "\"b1\"", "old", 500);
	run(&bench);
	is_int(b->calls, 0, "the fallback is not asked while the first answers");
	atomic_store(&a->fails, ERR_UNREACHABLE);
	is_int(run(&bench), UPDATE_FAILED, "an older body of a fallback is refused");
	is_str(bench.err.msg,
	       "http://a/t: unreachable; http://b/t: version b1 is not newer than what is served",
	       "the message has the reason of each source");
	is_int(bench.err.kind, ERR_UNREACHABLE, "the kind is that of the first source");
	run(&bench);
	is_int(b->downloads, 1, "the older body was downloaded once");
	is_int(taken(&bench, ORIGIN_B), 0, "the place at the fallback's origin was given back");
	offer(b, "\"b2\"", "one", 700);
	is_int(run(&bench), UPDATE_UNCHANGED,
	       "the same bytes confirm the version, whatever their date");
	offer(b, "\"b3\"", "three", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_FAILED, "a body without an order key is not provably newer");
	offer(b, "\"b4\"", "four", 1001);
	is_int(run(&bench), UPDATE_UPDATED, "a newer body of a fallback is accepted");
	ok(serves(&bench, "four", "b4", "http://b/t"),
	   "readers get it under the fallback's version");

	atomic_store(&a->fails, ERR_NONE);
	a->have[0] = '\0';
	is_int(run(&bench), UPDATE_UPDATED, "the authority's body is accepted when it is back");
	is_str(a->have, "", "the request had no old token of the authority");
	ok(serves(&bench, "one", "a1", "http://a/t"), "readers get the authority's body");
	tear_down(&bench);
}

static void test_failover_rest(void)
{
	struct bench bench;
	struct fake *a = &bench.fakes[0], *b = &bench.fakes[1], *c = &bench.fakes[2];

	set_up(&bench, 3);
	atomic_store(&a->fails, ERR_DENIED);
	b->origin = ORIGIN_B;
	struct origin_place full[PLACES];
	for (size_t i = 0; i < PLACES; i++)
		origin_place_take(bench.places, ORIGIN_B, &full[i]);
	offer(c, "\"c1\"", "see", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UPDATED,
	       "without a snapshot, the body of any source is accepted");
	is_int(b->calls, 0, "a source whose origin is full is skipped");
	atomic_store(&c->fails, ERR_BUSY);
	run(&bench);
	ok(strstr(bench.err.msg, "too many updates are waiting for http://b:80"),
	   "the message says why: %s", bench.err.msg);
	is_int(bench.update.plan_kind, ERR_BUSY, "the temporary failure plans the next update");
	is_int(bench.err.kind, ERR_DENIED, "the kind is that of the authority");

	for (size_t i = 0; i < PLACES; i++)
		origin_place_leave(&full[i]);
	bench.config.failover = FAILOVER_ANY;
	offer(b, "\"b1\"", "bee", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UPDATED, "failover = any accepts any body");
	atomic_store(&b->fails, ERR_BUSY);
	b->retry_after_ms = 100000;
	a->retry_after_ms = 2000;
	run(&bench);
	is_int(bench.update.advice.retry_after_ms, 2000,
	       "the authority's Retry-After delays the next update");
	unsigned calls = b->calls;
	run(&bench);
	is_int(b->calls, calls, "a fallback with Retry-After is skipped");
	tear_down(&bench);
}

static void test_backwards(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 2);
	bench.config.backwards = BACKWARDS_REFUSE;
	offer(fake, "\"2\"", "two", 2000);
	run(&bench);
	offer(fake, "\"1\"", "one", 1000);
	is_int(run(&bench), UPDATE_FAILED, "backwards = refuse refuses an older body");
	run(&bench);
	is_int(fake->downloads, 2, "the refused body is not downloaded again");
	is_int(bench.fakes[1].calls, 0, "the refusal does not fail over");
	ok(serves(&bench, "two", "2", "http://a/t"), "readers still get the newer body");

	bench.config.backwards = BACKWARDS_CONFIRM;
	offer(fake, "\"0\"", "zero", 1000);
	is_int(run(&bench), UPDATE_FAILED, "backwards = confirm does not accept the first answer");
	is_int(bench.update.advice.confirm_in_ms, FORWARD_CONFIRM_MS,
	       "the next answer is requested soon");
	ok(strstr(bench.err.msg, "1 of 3 answers agree"), "the message counts the answers: %s",
	   bench.err.msg);
	is_int(run(&bench), UPDATE_FAILED, "the next answer comes too soon");
	ok(strstr(bench.err.msg, "1 of 3"), "an early answer is not counted");
	is_int(fake->downloads, 3, "an early answer is not downloaded");
	offer(fake, "\"3\"", "three", 3000);
	is_int(run(&bench), UPDATE_UPDATED, "a newer body is accepted at once");
	tear_down(&bench);
}

static void test_on_delete(void)
{
	struct bench bench;
	struct fake *a = &bench.fakes[0], *b = &bench.fakes[1];
	struct store_term loaded = { .snapshot = NULL };

	set_up(&bench, 2);
	bench.config.on_delete = ON_DELETE_REMOVE;
	offer(a, "\"1\"", "one", 1000);
	run(&bench);
	atomic_store(&a->fails, ERR_NOT_FOUND);
	atomic_store(&b->fails, ERR_DENIED);
	is_int(run(&bench), UPDATE_FAILED, "on_delete = remove reports the missing term");
	ok(has_status(&bench, TERM_GONE, 1, NULL), "the name stays while another source disagrees");
	atomic_store(&b->fails, ERR_UNREACHABLE);
	is_int(run(&bench), UPDATE_FAILED, "a source that does not answer does not count");
	is_int(bench.err.kind, ERR_NOT_FOUND, "the kind is not found");
	ok(serves(&bench, NULL, NULL, NULL), "the name is gone");
	load_term(bench.temp.store, "t", &loaded, &bench.err);
	ok(!loaded.snapshot, "durably");
	store_term_release(&loaded);
	run(&bench);
	is_int(bench.published, 2, "once");
	offer(a, "\"1\"", "one", 1000);
	a->have[0] = '\0';
	is_int(run(&bench), UPDATE_UPDATED, "the same version is accepted again");
	is_str(a->have, "", "the download is unconditional");
	ok(serves(&bench, "one", "1", "http://a/t"), "readers get it again");
	tear_down(&bench);
}

static void test_resume(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	offer(fake, "\"1\"", NULL, 1000);
	fake->body_bytes = 300000;
	fake->breaks_after = 40960;
	is_int(run(&bench), UPDATE_FAILED, "a transfer that is cut after 40 KiB fails");
	fake->breaks_after = 81920;
	run(&bench);
	is_int(fake->offset, 0, "too few bytes are not resumed");
	fake->breaks_after = 163840;
	run(&bench);
	is_int(fake->offset, 81920, "the download resumes at 80 KiB");
	atomic_store(&fake->fails, ERR_UNREACHABLE);
	run(&bench);
	offer(fake, "\"1\"", NULL, 1000);
	run(&bench);
	is_int(fake->offset, 163840,
	       "the download resumes at 160 KiB after the source was unreachable");
	fake->token = "\"2\"";
	fake->breaks_after = 0;
	is_int(run(&bench), UPDATE_UPDATED, "another version is downloaded from the beginning");
	is_int(bench.term.current->size_bytes, 300000, "the body is complete");
	fake->token = "\"3\"";
	fake->breaks_after = 81920;
	fake->body_bytes = 300001;
	run(&bench);
	atomic_store(&fake->fails, ERR_NOT_FOUND);
	run(&bench);
	offer(fake, "\"3\"", NULL, 1000);
	run(&bench);
	is_int(fake->offset, 0, "another answer drops the kept bytes");
	tear_down(&bench);
}

static void test_canceled(void)
{
	struct bench bench;

	set_up(&bench, 2);
	bench.fakes[0].origin = ORIGIN_A;
	offer(&bench.fakes[0], "\"1\"", "one", 1000);
	run(&bench);
	atomic_store(&bench.fakes[0].blocks, true);
	cancel_request(&bench.cancel);
	is_int(run(&bench), UPDATE_CANCELED, "canceled");
	is_int(bench.fakes[1].calls, 0, "the other source is not asked");
	ok(has_status(&bench, TERM_FRESH, 0, "1"), "the state of the term is unchanged");
	is_int(taken(&bench, ORIGIN_A), 0, "the place at the origin was given back");
	tear_down(&bench);
}

static void test_canceled_fallback(void)
{
	struct bench bench;

	set_up(&bench, 2);
	bench.fakes[1].origin = ORIGIN_B;
	atomic_store(&bench.fakes[0].fails, ERR_UNREACHABLE);
	atomic_store(&bench.fakes[1].blocks, true);
	bench.fakes[1].cancels = &bench.cancel;
	is_int(run(&bench), UPDATE_CANCELED, "an update can be canceled while a fallback is asked");
	is_int(taken(&bench, ORIGIN_B), 0, "the place at the fallback's origin was given back");
	tear_down(&bench);
}

static void test_unpublishable(void)
{
	struct bench bench;

	set_up(&bench, 1);
	offer(&bench.fakes[0], "\"1\"", "one", 1000);
	run(&bench);
	offer(&bench.fakes[0], "\"2\"", "two", 2000);
	bench.is_unpublishable = true;
	is_int(run(&bench), UPDATE_FAILED, "a version that cannot be published fails the update");
	is_str(bench.err.msg, "no room for the name", "the error is that of publishing");
	ok(has_status(&bench, TERM_STALE, 1, "1"), "the term is stale");
	ok(serves(&bench, "one", "1", "http://a/t"), "readers still get the old version");
	bench.is_unpublishable = false;
	is_int(run(&bench), UPDATE_UPDATED, "the next update tries again");
	ok(serves(&bench, "two", "2", "http://a/t"), "readers get the new version");
	tear_down(&bench);
}

/* The bytes were found corrupt, and dropped. */
static void test_lost(void)
{
	struct bench bench;

	set_up(&bench, 1);
	offer(&bench.fakes[0], "\"1\"", "one", 1000);
	run(&bench);
	snapshot_unref(term_swap(&bench.term, NULL));
	is_int(run(&bench), UPDATE_UPDATED, "lost bytes are fetched again");
	ok(serves(&bench, "one", "1", "http://a/t"), "readers get them again");
	tear_down(&bench);
}

static void test_keep_is_bounded(void)
{
	struct temp_store temp = { .store = NULL };
	struct sink *sinks[SINK_KEEP_MAX_SINKS + 1] = { NULL };
	struct err err = ERR_INIT;
	static char bytes[SINK_KEEP_MIN_BYTES];
	unsigned kept = 0;

	temp_store_open(&temp);
	for (size_t i = 0; i < ARRAY_SIZE(sinks); i++) {
		if (sink_new(&sinks[i], temp.store, 0, sizeof(bytes), &err) < 0)
			abort();
		sink_resumable(sinks[i], "v");
		sink_write(sinks[i], bytes, sizeof(bytes), &err);
		kept += sink_keep(sinks[i]);
	}
	is_int(kept, SINK_KEEP_MAX_SINKS, "the number of kept downloads is limited");
	is_int(sink_write(sinks[0], bytes, 1, &err), -1, "max_size limits the written bytes");
	is_int(err.kind, ERR_BAD_DATA, "this is bad data");
	is_int(sink_expect(sinks[0], sizeof(bytes) + 1, &err), -1,
	       "max_size limits the announced length");
	sink_free(sinks[0]);
	ok(sink_keep(sinks[SINK_KEEP_MAX_SINKS]), "freeing a kept download makes room for another");
	for (size_t i = 1; i < ARRAY_SIZE(sinks); i++)
		sink_free(sinks[i]);
	temp_store_remove(&temp);
}

/* What arrives too late is not taken, even if a fetcher heeds no deadline. */
static void test_attempt_timeout(void)
{
	struct bench bench;

	set_up(&bench, 1);
	offer(&bench.fakes[0], "1", "one", 1000);
	run(&bench);
	bench.config.attempt_timeout_ms = 0;
	offer(&bench.fakes[0], "2", "two", 2000);
	is_int(run(&bench), UPDATE_FAILED, "a body that comes after the attempt_timeout");
	is_int(bench.err.kind, ERR_UNREACHABLE, "as a failure that passes");
	ok(strstr(bench.err.msg, "attempt_timeout"), "the message says why: %s", bench.err.msg);
	ok(serves(&bench, "one", "1", "http://a/t"), "the one before stays");
	bench.config.attempt_timeout_ms = 600000;
	is_int(run(&bench), UPDATE_UPDATED, "the next attempt has its own time");
	tear_down(&bench);
}

/* What a fetcher notes on a version comes back with the next question. */
static void test_notes(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 2);
	fake->notes = "max_age=5";
	offer(fake, "\"1\"", "one", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UPDATED, "a version with notes");
	ok(serves(&bench, "one", "1", "http://a/t"), "they are not part of what people see");
	restart(&bench);
	is_int(run(&bench), UPDATE_UNCHANGED, "the next question");
	is_str(fake->have, "\"1\"", "has the token");
	is_str(fake->have_notes, "max_age=5", "and the notes, over the restart");
	fake->notes = "max_age=60";
	is_int(run(&bench), UPDATE_UNCHANGED, "an answer with other notes");
	restart(&bench);
	fake->notes = NULL;
	is_int(run(&bench), UPDATE_UNCHANGED, "an answer that says nothing about them");
	is_str(fake->have_notes, "max_age=60", "the other notes were kept");
	is_int(run(&bench), UPDATE_UNCHANGED, "and are left as they were");
	is_str(fake->have_notes, "max_age=60", "by that answer");
	is_int(fake->downloads, 1, "one download");
	atomic_store(&fake->fails, ERR_UNREACHABLE);
	bench.fakes[1].notes = "of another source";
	offer(&bench.fakes[1], "\"b\"", "one", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UNCHANGED, "a fallback has the same bytes");
	atomic_store(&fake->fails, ERR_NONE);
	restart(&bench);
	run(&bench);
	is_str(fake->have_notes, "max_age=60", "the authority's notes stay in the store");
	tear_down(&bench);
}

static void test_forced(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	offer(fake, "\"1\"", "one", FETCHED_UNKNOWN);
	run(&bench);
	offer(fake, "\"1\"", "two", FETCHED_UNKNOWN);
	is_int(run(&bench), UPDATE_UNCHANGED, "other bytes with the same token");
	bench.is_forced = true;
	is_int(run(&bench), UPDATE_UPDATED, "a forced update finds them");
	ok(serves(&bench, "two", "1", "http://a/t"), "and they are served");
	is_int(run(&bench), UPDATE_UNCHANGED, "the same bytes again");
	is_int(fake->downloads, 3, "are fetched each time");
	atomic_store(&fake->fails, ERR_BAD_DATA);
	run(&bench);
	atomic_store(&fake->fails, ERR_NONE);
	is_int(run(&bench), UPDATE_UNCHANGED, "a refused version gets another chance");
	offer(fake, "\"2\"", NULL, FETCHED_UNKNOWN);
	fake->body_bytes = 300000;
	fake->breaks_after = 200000;
	bench.is_forced = false;
	is_int(run(&bench), UPDATE_FAILED, "an interrupted download");
	fake->breaks_after = 0;
	bench.is_forced = true;
	is_int(run(&bench), UPDATE_UPDATED, "is not continued by a forced update");
	is_int((int64_t)fake->offset, 0, "which begins at the beginning");
	tear_down(&bench);
}

static void test_revalidate(void)
{
	struct bench bench;
	struct fake *fake = &bench.fakes[0];

	set_up(&bench, 1);
	bench.config.revalidate_ms = 3600 * INT64_C(1000);
	offer(fake, "\"1\"", "one", FETCHED_UNKNOWN);
	run(&bench);
	run(&bench);
	restart(&bench);
	is_int(run(&bench), UPDATE_UNCHANGED, "within the time the token counts");
	is_int(fake->downloads, 1, "over a restart too");
	bench.config.revalidate_ms = 1;
	offer(fake, "\"1\"", "two", FETCHED_UNKNOWN);
	usleep(2000);
	is_int(run(&bench), UPDATE_UPDATED, "after it the bytes are fetched");
	bench.config.revalidate_ms = 3600 * INT64_C(1000);
	is_int(run(&bench), UPDATE_UNCHANGED, "and then the token counts again");
	is_int(fake->downloads, 2, "without a download");
	bench.config.revalidate_ms = 0;
	restart(&bench);
	run(&bench);
	is_int(fake->downloads, 2, "the option can be removed");
	tear_down(&bench);
}

/* Returns how many of the lines have the text. */
static unsigned count_lines(int log, const char *text)
{
	static char lines[1 << 20];
	ssize_t n = pread(log, lines, sizeof(lines) - 1, 0);
	unsigned count = 0;

	lines[n > 0 ? n : 0] = '\0';
	for (const char *at = lines; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void test_log_is_limited(void)
{
	_cleanup_close_ int log = memfd_create("log", MFD_CLOEXEC);
	_cleanup_close_ int standard_error = dup(STDERR_FILENO);
	struct bench bench;

	set_up(&bench, 1);
	boot_s = 1000000;
	dup2(log, STDERR_FILENO);
	atomic_store(&bench.fakes[0].fails, ERR_NOT_FOUND);
	for (unsigned i = 0; i < 150; i++)
		run(&bench);
	is_int(count_lines(log, "event=failed"), 100, "100 lines about one term are logged");
	is_int(count_lines(log, "event=log_limited"), 1, "and one that no more follow");
	boot_s += 10;
	run(&bench);
	is_int(count_lines(log, "event=failed"), 101, "ten seconds later one is logged again");
	offer(&bench.fakes[0], "\"1\"", "one", 1000);
	run(&bench);
	is_int(count_lines(log, "event=updated"), 1, "and so is an update");
	dup2(standard_error, STDERR_FILENO);
	boot_s = 0;
	tear_down(&bench);
}

static void test_version_text(void)
{
	static const char *const texts[] = {
		"\"1\"", "\"1\"\nnotes", "\"1\"\nnotes\n1700000000000", "\"1\"\n\n17", "",
	};
	char text[VERSION_TEXT_SIZE];
	struct version version;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		version_read(&version, texts[i]);
		is_str(version_text(&version, text), texts[i], "read and written: %zu", i);
	}
	version = (struct version){ .notes = "of nothing", .sent_at_ms = 1 };
	is_str(version_text(&version, text), "", "notes without a token");
	memset(version.token, 'x', sizeof(version.token) - 1);
	memset(version.notes, 'y', sizeof(version.notes) - 1);
	version.sent_at_ms = INT64_MIN;
	version_read(&version, version_text(&version, text));
	ok(strlen(version.token) == VERSION_SIZE - 1 &&
		   strlen(version.notes) == VERSION_NOTES_SIZE - 1 &&
		   version.sent_at_ms == INT64_MIN,
	   "the longest");
}

static void test_version_display(void)
{
	char text[VERSION_SIZE], longest[VERSION_SIZE];

	is_str(version_display("\"1\"\nnotes", text), "1", "without notes");
	is_str(version_display("1\nnotes", text), "1", "nor those of another token");
	is_str(version_display("\"caf\xe9\xc3\xa9\"", text), "caf\\xe9\\xc3\\xa9",
	       "bytes of an ETag that are not ASCII");
	is_str(version_display("sch\xc3\xb6n", text), "sch\xc3\xb6n", "another token may be UTF-8");
	memset(longest, 0xff, sizeof(longest) - 1);
	longest[0] = longest[sizeof(longest) - 2] = '"';
	longest[sizeof(longest) - 1] = '\0';
	ok(strlen(version_display(longest, text)) % 4 == 0, "a long one is cut between bytes");

	is_str(version_display("\"abc\"", text), "abc", "an ETag is shown without quotes");
	is_str(version_display("W/\"abc\"", text), "abc", "an ETag is shown without W/");
	is_str(version_display("W/abc", text), "W/abc", "other tokens keep W/");
	is_str(version_display("\"", text), "\"", "a single quote is kept");
}

int main(void)
{
	test_one_source();
	test_stranger();
	test_no_token();
	test_plain_fetcher();
	test_refused();
	test_too_small();
	test_failover();
	test_failover_rest();
	test_backwards();
	test_on_delete();
	test_resume();
	test_canceled();
	test_canceled_fallback();
	test_unpublishable();
	test_lost();
	test_keep_is_bounded();
	test_attempt_timeout();
	test_notes();
	test_forced();
	test_revalidate();
	test_log_is_limited();
	test_version_text();
	test_version_display();
	return tap_done();
}
