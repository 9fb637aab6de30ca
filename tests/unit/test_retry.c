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

	ok(retry_share("m", "a") == retry_share("m", "a"), "the share of a term is constant");
	ok(retry_share("m", "a") != retry_share("m", "b"), "terms have different shares");
	ok(retry_share("m", "a") != retry_share("n", "a"), "machines have different shares");
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

	is_int(retry_first(&config, true, LAST), 0, "a term without a snapshot is updated at once");
	is_int(retry_first(&config, false, HALF), 2500, "an eager term is updated within 5 s");
	config.refresh_interval_ms = 200;
	is_int(retry_first(&config, false, HALF), 100,
	       "an eager term is updated within a shorter interval");
	config.refresh_interval_ms = CONFIG_NEVER;
	is_int(retry_first(&config, false, HALF), 2500,
	       "an eager term with interval never is updated once after the start");
	config.lazy_init = true;
	is_int(retry_first(&config, false, HALF), RETRY_NEVER,
	       "a lazy term with interval never is updated on request");
	is_int(retry_first(&config, true, HALF), 0,
	       "a lazy term without a snapshot is updated at once");
	config.refresh_interval_ms = 10 * MINUTE_MS;
	is_int(retry_first(&config, false, HALF), 5 * MINUTE_MS,
	       "a lazy term is updated within the interval");
}

static void test_success(void)
{
	is_int(retry_after_success(MINUTE_MS, -1, 0), MINUTE_MS,
	       "a success is followed by the interval");
	is_int(retry_after_success(MINUTE_MS, -1, HALF), 57000,
	       "the interval is shortened by the share");
	is_int(retry_after_success(MINUTE_MS, -1, LAST), 54001,
	       "the interval is shortened by at most a tenth");
	is_int(retry_after_success(MINUTE_MS, 1234, LAST), 1234, "fresh_for replaces the interval");
	is_int(retry_after_success(MINUTE_MS, 0, LAST), 1, "fresh_for is at least 1 ms");
	is_int(retry_after_success(MINUTE_MS, INT64_MAX, LAST), OPTION_DURATION_MAX_MS,
	       "fresh_for is at most the longest duration");
	is_int(retry_after_success(CONFIG_NEVER, -1, HALF), RETRY_NEVER, "never");
	is_int(retry_after_success(CONFIG_NEVER, 1234, HALF), 1234,
	       "fresh_for replaces the interval never");
	is_int(retry_after_success(OPTION_DURATION_MAX_MS, -1, 0), OPTION_DURATION_MAX_MS,
	       "the longest interval does not overflow");
	is_int(retry_after_success(1, -1, LAST), 1, "the shortest interval is 1 ms");
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
		is_int(worst(passing[i], 3600000, 1), 999, "the first back-off of %s is below 1 s",
		       name);
		is_int(worst(passing[i], 3600000, 2), 1999, "the second back-off is below 2 s");
		is_int(worst(passing[i], 3600000, 5), 15999, "the fifth back-off is below 16 s");
		is_int(worst(passing[i], 3600000, 1000), 299999, "a back-off is below 5 min");
		is_int(worst(passing[i], 20000, 1000), 19999, "a back-off is below the interval");
		is_int(worst(passing[i], 50, 1), 49, "a short interval limits the first back-off");
		is_int(worst(passing[i], CONFIG_NEVER, 1000), 299999,
		       "with interval never, retries continue until a success");
	}
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 3, -1, 0, HALF), 2000,
	       "the back-off has full jitter");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 3, -1, 0, 0), 1,
	       "the jitter goes down to 1 ms");
	for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
		const char *name = err_kind_name(lasting[i]);
		is_int(worst(lasting[i], MINUTE_MS, 1), MINUTE_MS,
		       "%s is retried after the full interval", name);
		is_int(worst(lasting[i], CONFIG_NEVER, 1), RETRY_NEVER,
		       "with interval never, it is retried on request");
	}
	is_int(worst(ERR_CANCELED, MINUTE_MS, 1), RETRY_NEVER, "a canceled update has no retry");
}

static void test_retry_after(void)
{
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 1, 120000, 0, LAST), 120000,
	       "Retry-After is a minimum, whatever the interval");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 1, 120000, 0, UINT64_MAX), 131999,
	       "a Retry-After is spread over a tenth of it");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 20, 1, 0, LAST), 59999,
	       "a back-off longer than Retry-After is kept");
	is_int(retry_after_failure(ERR_BUSY, MINUTE_MS, 1, INT64_MAX, 0, 0), RETRY_AFTER_MAX_MS,
	       "Retry-After is limited to 24 h");
	is_int(retry_after_failure(ERR_DENIED, MINUTE_MS, 1, 90000, 0, 0), 90000,
	       "Retry-After also applies to a lasting failure");
	is_int(retry_after_failure(ERR_DENIED, CONFIG_NEVER, 1, 90000, 0, 0), RETRY_NEVER,
	       "Retry-After does not apply to refresh_interval = never");
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
	ok(in_order, "items come in the order of their times");
	is_int(taken, 64 - 13, "each item comes once");
	due_heap_release(&due);
}

static void test_forward(void)
{
	struct term_config config = { .failover = FAILOVER_NEWER };

	is_int(forward_only_judge(&config, 0, 200, 100), FORWARD_TAKE,
	       "an older body of the authority is taken");
	is_int(forward_only_judge(&config, 1, 100, 200), FORWARD_TAKE,
	       "a newer body of a fallback is taken");
	is_int(forward_only_judge(&config, 1, 100, 100), FORWARD_NOT_NEWER,
	       "an equally old body of a fallback is not taken");
	is_int(forward_only_judge(&config, 1, 100, -1), FORWARD_UNPROVEN,
	       "a body of a fallback without an order key is not taken");
	is_int(forward_only_judge(&config, 1, -1, 100), FORWARD_UNPROVEN,
	       "a fallback cannot replace a body without an order key");
	config.failover = FAILOVER_ANY;
	is_int(forward_only_judge(&config, 1, 100, 50), FORWARD_TAKE,
	       "failover = any allows an older body");
	config.backwards = BACKWARDS_REFUSE;
	is_int(forward_only_judge(&config, 0, 200, 100), FORWARD_REFUSED,
	       "backwards = refuse refuses an older body");
	is_int(forward_only_judge(&config, 0, 200, 200), FORWARD_TAKE,
	       "an equally old body does not go backwards");
	is_int(forward_only_judge(&config, 0, 200, -1), FORWARD_TAKE,
	       "a body without an order key does not go backwards");
	config.backwards = BACKWARDS_CONFIRM;
	is_int(forward_only_judge(&config, 0, 200, 100), FORWARD_CONFIRM,
	       "backwards = confirm asks for confirmation");
}

static void test_confirm(void)
{
	struct forward_confirm confirm = { .answers = 0 };
	uint8_t a[DIGEST_SIZE] = { 1 }, b[DIGEST_SIZE] = { 2 };

	ok(!forward_only_agree(&confirm, a, 0), "one answer is not enough");
	ok(!forward_only_agree(&confirm, a, 9999), "an answer that comes too soon is not enough");
	is_int(confirm.answers, 1, "an answer that comes too soon is not counted");
	ok(!forward_only_agree(&confirm, a, 10000), "two answers are not enough");
	ok(!forward_only_agree(&confirm, b, 20000), "an answer that disagrees is not enough");
	is_int(confirm.answers, 1, "an answer that disagrees starts a new count");
	ok(!forward_only_agree(&confirm, b, 30000), "two answers that agree are not enough");
	ok(!forward_only_is_time(&confirm, 39999) && forward_only_is_time(&confirm, 40000),
	   "answers count 10 s apart");
	ok(forward_only_agree(&confirm, b, 40000), "three answers that agree are enough");
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
	ok(source_failures_mean_gone(&failures), "a 404 of the authority means gone");
	add(&failures, "/b", ERR_UNREACHABLE, "timeout");
	ok(source_failures_mean_gone(&failures), "a source that does not answer does not count");
	source_failures_set(&failures, &err);
	is_str(err.msg, "GET http://a/: 404; /b: timeout", "each source is named once");
	is_int(err.kind, ERR_NOT_FOUND, "the kind is the authority's");
	is_int(failures.plan_kind, ERR_UNREACHABLE, "the passing failure plans the next update");
	add(&failures, "/c", ERR_DENIED, "no");
	ok(!source_failures_mean_gone(&failures), "another answer of a fallback means not gone");

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
