/* retry, due_heap, forward_only, source_failures: the pure parts of refreshing. */
#include "base/util.h"

#include "fetch/due_heap.h"
#include "fetch/source_failures.h"
#include "fetch/forward_only.h"
#include "fetch/retry.h"
#include "tap.h"

#define MINUTE_MS 60000
#define HALF	  (UINT32_C(1) << 31)
#define LAST	  UINT32_MAX

static void test_share(void)
{
	uint32_t quarters[4] = { 0 };
	char name[32];

	ok(retry_share("m", "a") == retry_share("m", "a"), "a term's share is constant");
	ok(retry_share("m", "a") != retry_share("m", "b"), "terms differ");
	ok(retry_share("m", "a") != retry_share("n", "a"), "machines differ");
	ok(retry_share("ab", "c") != retry_share("a", "bc"), "machine and name are separated");
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "term-%04d", i);
		quarters[retry_share("m", name) >> 30]++;
	}
	for (int i = 0; i < 4; i++)
		ok(quarters[i] > 180 && quarters[i] < 320, "shares are spread evenly (%u of 1000)",
		   quarters[i]);
}

static void test_first(void)
{
	struct term_config config = { .refresh_interval_ms = 10 * MINUTE_MS };

	is_int(retry_first(&config, true, LAST), 0, "without a snapshot: at once");
	is_int(retry_first(&config, false, HALF), 2500, "eager: within 5 s");
	config.refresh_interval_ms = 200;
	is_int(retry_first(&config, false, HALF), 100, "or within a shorter interval");
	config.refresh_interval_ms = CONFIG_NEVER;
	is_int(retry_first(&config, false, HALF), 2500, "never, eager: once after the start");
	config.lazy_init = true;
	is_int(retry_first(&config, false, HALF), RETRY_NEVER, "never, lazy: on request");
	is_int(retry_first(&config, true, HALF), 0, "never, lazy, no snapshot: at once");
	config.refresh_interval_ms = 10 * MINUTE_MS;
	is_int(retry_first(&config, false, HALF), 5 * MINUTE_MS, "lazy: within the interval");
}

static void test_success(void)
{
	is_int(retry_after_success(MINUTE_MS, -1, 0), MINUTE_MS, "the interval");
	is_int(retry_after_success(MINUTE_MS, -1, HALF), 57000, "is shortened by the share");
	is_int(retry_after_success(MINUTE_MS, -1, LAST), 54001, "by at most a tenth");
	is_int(retry_after_success(MINUTE_MS, 1234, LAST), 1234, "fresh_for replaces it");
	is_int(retry_after_success(MINUTE_MS, 0, LAST), 1, "but is at least 1 ms");
	is_int(retry_after_success(MINUTE_MS, INT64_MAX, LAST), OPTION_DURATION_MAX_MS,
	       "and at most the longest duration");
	is_int(retry_after_success(CONFIG_NEVER, -1, HALF), RETRY_NEVER, "never");
	is_int(retry_after_success(CONFIG_NEVER, 1234, HALF), 1234, "never, with fresh_for");
	is_int(retry_after_success(OPTION_DURATION_MAX_MS, -1, 0), OPTION_DURATION_MAX_MS,
	       "the longest interval");
	is_int(retry_after_success(1, -1, LAST), 1, "the shortest interval");
}

static int64_t worst(enum err_kind kind, int64_t interval_ms, unsigned failures)
{
	return retry_after_failure(kind, interval_ms, failures, -1, 0, LAST);
}

static void test_backoff(void)
{
	static const enum err_kind passing[] = { ERR_UNREACHABLE, ERR_BUSY, ERR_INTERNAL };
	static const enum err_kind lasting[] = { ERR_CONFIG, ERR_DENIED, ERR_NOT_FOUND,
						 ERR_BAD_DATA };

	for (size_t i = 0; i < ARRAY_SIZE(passing); i++) {
		const char *name = err_kind_name(passing[i]);
		is_int(worst(passing[i], 3600000, 1), 999, "%s: below 1 s at first", name);
		is_int(worst(passing[i], 3600000, 2), 1999, "then 2 s");
		is_int(worst(passing[i], 3600000, 5), 15999, "then 16 s");
		is_int(worst(passing[i], 3600000, 1000), 299999, "never above 5 min");
		is_int(worst(passing[i], 20000, 1000), 19999, "nor above the interval");
		is_int(worst(passing[i], 50, 1), 49, "a short interval is the first back-off");
		is_int(worst(passing[i], CONFIG_NEVER, 1000), 299999, "never: until it succeeds");
	}
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 3, -1, 0, HALF), 2000, "full jitter");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 3, -1, 0, 0), 1, "down to 1 ms");
	for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
		const char *name = err_kind_name(lasting[i]);
		is_int(worst(lasting[i], MINUTE_MS, 1), MINUTE_MS, "%s: full interval", name);
		is_int(worst(lasting[i], CONFIG_NEVER, 1), RETRY_NEVER, "never: on request");
	}
	is_int(worst(ERR_CANCELED, MINUTE_MS, 1), RETRY_NEVER, "canceled: no update");
}

static void test_retry_after(void)
{
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 1, 120000, 0, LAST), 120000,
	       "Retry-After is a minimum, whatever the interval");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 1, 120000, 0, UINT64_MAX), 131999,
	       "spread over a tenth of it");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 20, 1, 0, LAST), 59999,
	       "a longer back-off is kept");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 1, INT64_MAX, 0, 0), RETRY_AFTER_MAX_MS,
	       "at most 24 h");
	is_int(retry_after_failure(ERR_DENIED, MINUTE_MS, 1, 90000, 0, 0), 90000,
	       "also after a lasting failure");
	is_int(retry_after_failure(ERR_DENIED, CONFIG_NEVER, 1, 90000, 0, 0), RETRY_NEVER,
	       "but not with refresh_interval = never");
}

static void test_due(void)
{
	struct due_item items[64];
	struct err err = ERR_INIT;
	struct due_heap due;
	int64_t last = -1;
	unsigned taken = 0;

	ok(due_heap_init(&due, 64, &err) == 0, "due_heap_init");
	ok(!due_heap_first(&due), "nothing is due");
	for (uint32_t i = 0; i < 64; i++) {
		items[i].place = DUE_NOWHERE;
		due_heap_put(&due, &items[i], (i * 37) % 64);
	}
	for (uint32_t i = 0; i < 64; i += 2)
		due_heap_put(&due, &items[i], 1000 - items[i].at_ms);
	for (uint32_t i = 0; i < 64; i += 5)
		due_heap_remove(&due, &items[i]);
	due_heap_remove(&due, &items[0]);
	bool in_order = true;
	for (struct due_item *item; (item = due_heap_first(&due)); taken++) {
		in_order &= item->at_ms >= last;
		last = item->at_ms;
		due_heap_remove(&due, item);
	}
	ok(in_order, "earliest first, after moves and removals");
	is_int(taken, 64 - 13, "each once");
	due_heap_release(&due);
}

static void test_forward(void)
{
	struct term_config config = { .failover = FAILOVER_NEWER };

	is_int(forward_only_judge(&config, 0, 200, 100), FORWARD_TAKE,
	       "an older body of the authority is taken");
	is_int(forward_only_judge(&config, 1, 100, 200), FORWARD_TAKE,
	       "a newer body of a fallback too");
	is_int(forward_only_judge(&config, 1, 100, 100), FORWARD_NOT_NEWER,
	       "not one that is as old");
	is_int(forward_only_judge(&config, 1, 100, -1), FORWARD_UNPROVEN,
	       "nor one without an order key");
	is_int(forward_only_judge(&config, 1, -1, 100), FORWARD_UNPROVEN,
	       "nor if the published one has no order key");
	config.failover = FAILOVER_ANY;
	is_int(forward_only_judge(&config, 1, 100, 50), FORWARD_TAKE, "failover = any allows it");
	config.backwards = BACKWARDS_REFUSE;
	is_int(forward_only_judge(&config, 0, 200, 100), FORWARD_REFUSED, "backwards = refuse");
	is_int(forward_only_judge(&config, 0, 200, 200), FORWARD_TAKE, "equal is not backwards");
	is_int(forward_only_judge(&config, 0, 200, -1), FORWARD_TAKE, "nor is unknown");
	config.backwards = BACKWARDS_CONFIRM;
	is_int(forward_only_judge(&config, 0, 200, 100), FORWARD_CONFIRM, "backwards = confirm");
}

static void test_confirm(void)
{
	struct forward_confirm confirm = { .answers = 0 };
	uint8_t a[DIGEST_SIZE] = { 1 }, b[DIGEST_SIZE] = { 2 };

	ok(!forward_only_agree(&confirm, a, 0), "one answer is not enough");
	ok(!forward_only_agree(&confirm, a, 9999), "one that comes too soon");
	is_int(confirm.answers, 1, "is not counted");
	ok(!forward_only_agree(&confirm, a, 10000), "two are not enough");
	ok(!forward_only_agree(&confirm, b, 20000), "one that disagrees");
	is_int(confirm.answers, 1, "starts over");
	ok(!forward_only_agree(&confirm, b, 30000), "two");
	ok(!forward_only_is_time(&confirm, 39999) && forward_only_is_time(&confirm, 40000),
	   "10 s apart");
	ok(forward_only_agree(&confirm, b, 40000), "three agree");
}

static void add(struct source_failures *failures, const char *name, enum err_kind kind,
		const char *text)
{
	struct err err = ERR_INIT;

	err_set(&err, kind, "%s", text);
	source_failures_add(failures, name, 3, &err);
}

static void test_failures(void)
{
	struct source_failures failures = { .n = 0 };
	struct err err = ERR_INIT;
	char longest[ERR_MSG_SIZE];

	add(&failures, "http://a/", ERR_NOT_FOUND, "GET http://a/: 404");
	ok(source_failures_mean_gone(&failures), "404 of the authority: gone");
	add(&failures, "/b", ERR_UNREACHABLE, "timeout");
	ok(source_failures_mean_gone(&failures), "a source that does not answer does not count");
	source_failures_set(&failures, &err);
	is_str(err.msg, "GET http://a/: 404; /b: timeout", "each source is named once");
	is_int(err.kind, ERR_NOT_FOUND, "the kind is the authority's");
	is_int(failures.plan_kind, ERR_UNREACHABLE, "the passing failure plans the next update");
	add(&failures, "/c", ERR_DENIED, "no");
	ok(!source_failures_mean_gone(&failures), "another answer: not gone");

	failures = (struct source_failures){ .n = 0 };
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (int i = 0; i < 3; i++)
		add(&failures, "/d", ERR_BUSY, longest);
	ok(strlen(failures.text) < ERR_MSG_SIZE && strstr(failures.text, "; /d: x"),
	   "long messages share the space");
}

int main(void)
{
	test_share();
	test_first();
	test_success();
	test_backoff();
	test_retry_after();
	test_due();
	test_forward();
	test_confirm();
	test_failures();
	return tap_done();
}
