/* term, snapshot: states and references. */
#include "base/clock.h"
#include "tap.h"
#include "term/term.h"

static const struct term_config config = { .name = "geo/cities.csv" };

static void check_state(struct term *term, enum term_state state, const char *what)
{
	struct term_status status;

	term_status(term, &status);
	is_str(term_state_name(status.state), term_state_name(state), "%s", what);
	term_status_release(&status);
}

static void fail(struct term *term, enum err_kind kind, const char *msg)
{
	struct err err = ERR_INIT;

	err_set(&err, kind, "%s", msg);
	term_failed(term, &err, TERM_NO_TIME);
}

static void test_snapshot(void)
{
	char version[] = "7", source[] = "https://example.com/x";
	struct snapshot *snapshot = snapshot_new(version, source);

	version[0] = source[0] = '?';
	is_str(snapshot->version, "7", "a snapshot copies its version");
	is_str(snapshot->source, "https://example.com/x", "and its source");
	ok(snapshot_ref(snapshot) == snapshot, "a reference");
	snapshot_unref(snapshot);
	snapshot_unref(snapshot);
	snapshot_unref(NULL);
}

static void test_absent(void)
{
	struct err err = ERR_INIT;
	struct term_status status;
	struct term term;

	ok(term_init(&term, &config, NULL, NULL, &err) == 0, "a term without a snapshot");
	check_state(&term, TERM_ABSENT, "is absent");
	ok(term_current(&term) == NULL, "and has no snapshot");
	is_str(term_alias(&term), "geo/cities.csv", "without an alias it goes by its name");
	fail(&term, ERR_UNREACHABLE, "no route");
	check_state(&term, TERM_ABSENT, "stays absent when unreachable");
	fail(&term, ERR_NOT_FOUND, "404");
	check_state(&term, TERM_ABSENT, "and after a 404");
	term_status(&term, &status);
	is_int(status.failures, 2, "two failures in a row");
	is_int(status.failed_total, 2, "and in total");
	is_int(status.error_kind, ERR_NOT_FOUND, "the kind of the last one");
	is_str(status.last_error, "404", "and its message");
	is_int(status.next_check_at_ms, TERM_NO_TIME, "no update is planned");
	ok(status.checked_at_ms > 0, "the time of the update");
	term_status_release(&status);
	term_succeeded(&term, "3", false, TERM_NO_TIME);
	check_state(&term, TERM_ABSENT, "absent after a success without a snapshot, too");
	term_release(&term);
}

static void test_life(void)
{
	struct err err = ERR_INIT;
	struct term_status status;
	struct term term;
	struct snapshot *first = snapshot_new("1", "s"), *second = snapshot_new("2", "s");

	ok(term_init(&term, &config, snapshot_ref(first), "1", &err) == 0, "with a snapshot");
	check_state(&term, TERM_STALE, "it is stale before the first update");
	term_status(&term, &status);
	is_int(status.checked_at_ms, TERM_NO_TIME, "was never checked");
	ok(!status.last_error && status.error_kind == ERR_NONE, "and has no error");
	is_str(status.source_version, "1", "but a source version");
	term_status_release(&status);

	term_succeeded(&term, "1", false, TERM_NO_TIME);
	check_state(&term, TERM_FRESH, "unchanged: fresh");
	fail(&term, ERR_BUSY, "503");
	check_state(&term, TERM_STALE, "503: stale");
	fail(&term, ERR_NOT_FOUND, "404");
	check_state(&term, TERM_GONE, "404: gone");
	fail(&term, ERR_CANCELED, "stopped");
	check_state(&term, TERM_GONE, "canceled: no change");
	term_status(&term, &status);
	is_int(status.failures, 2, "nor is it counted");
	is_str(status.last_error, "404", "nor shown");
	term_status_release(&status);

	struct snapshot *before = term_swap(&term, snapshot_ref(second));
	ok(before == first, "a swap returns the previous snapshot");
	snapshot_unref(before);
	check_state(&term, TERM_FRESH, "what is published is fresh");
	term_status(&term, &status);
	ok(!status.last_error && status.error_kind == ERR_NONE && status.failures == 0,
	   "and has no error");
	term_status_release(&status);
	int64_t next_ms = clock_boot_ms() + 12345;
	term_succeeded(&term, "2", true, next_ms);
	term_status(&term, &status);
	is_int(status.failures, 0, "a success ends the row of failures");
	ok(!status.last_error && status.error_kind == ERR_NONE, "and the error");
	is_int(status.failed_total, 2, "not the total");
	is_int(status.updated_total, 1, "one update");
	is_int(status.unchanged_total, 1, "one unchanged");
	is_int(status.next_check_at_ms, clock_wall_at(next_ms), "the next update");
	is_str(status.source_version, "2", "the new source version");
	term_status_release(&status);

	struct snapshot *current = term_current(&term);
	ok(current == second, "the current snapshot");
	snapshot_unref(current);
	snapshot_unref(term_swap(&term, NULL));
	check_state(&term, TERM_ABSENT, "without a snapshot it is absent");
	snapshot_unref(first);
	snapshot_unref(second);
	term_release(&term);
}

int main(void)
{
	test_snapshot();
	test_absent();
	test_life();
	ok(sizeof(struct term) <= 112, "a term is small: %zu bytes", sizeof(struct term));
	return tap_done();
}
