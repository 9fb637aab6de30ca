/* term, snapshot: states and references. */
#include <stdlib.h>

#include "base/clock.h"
#include "tap.h"
#include "term/term.h"
#include "term/term_rights.h"

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
	is_str(snapshot->source, "https://example.com/x", "a snapshot copies its source");
	ok(snapshot_ref(snapshot) == snapshot, "a reference is the same snapshot");
	snapshot_unref(snapshot);
	snapshot_unref(snapshot);
	snapshot_unref(NULL);
}

static void test_absent(void)
{
	struct err err = ERR_INIT;
	struct term_status status;
	struct term term;

	ok(term_init(&term, &config, NULL, NULL, &err) == 0, "a term needs no snapshot");
	check_state(&term, TERM_ABSENT, "a term without a snapshot is absent");
	ok(term_current(&term) == NULL, "a new term has no snapshot");
	is_str(term_alias(&term), "geo/cities.csv",
	       "the alias is the name unless it is configured");
	fail(&term, ERR_UNREACHABLE, "no route");
	check_state(&term, TERM_ABSENT, "a term whose source is unreachable stays absent");
	fail(&term, ERR_NOT_FOUND, "404");
	check_state(&term, TERM_ABSENT, "a term stays absent after a 404");
	term_status(&term, &status);
	is_int(status.failures, 2, "failures in a row are counted");
	is_int(status.failed_total, 2, "all failures are counted");
	is_int(status.error_kind, ERR_NOT_FOUND, "the kind of the last error is kept");
	is_str(status.last_error, "404", "the message of the last error is kept");
	is_int(status.next_check_at_ms, TERM_NO_TIME, "no update is planned");
	ok(status.checked_at_ms > 0, "the time of the update is kept");
	term_status_release(&status);
	term_succeeded(&term, "3", false, TERM_NO_TIME);
	check_state(&term, TERM_ABSENT, "a term stays absent after a success without a snapshot");
	term_release(&term);
}

static void test_life(void)
{
	struct err err = ERR_INIT;
	struct term_status status;
	struct term term;
	struct snapshot *first = snapshot_new("1", "s"), *second = snapshot_new("2", "s");

	ok(term_init(&term, &config, snapshot_ref(first), "1", &err) == 0,
	   "a term can begin with a snapshot");
	check_state(&term, TERM_STALE, "a term is stale before the first update");
	term_status(&term, &status);
	is_int(status.checked_at_ms, TERM_NO_TIME, "a new term was never checked");
	ok(!status.last_error && status.error_kind == ERR_NONE, "a new term has no error");
	is_str(status.source_version, "1", "a new term has a source version");
	term_status_release(&status);

	term_succeeded(&term, "1", false, TERM_NO_TIME);
	check_state(&term, TERM_FRESH, "a term is fresh after an unchanged update");
	fail(&term, ERR_BUSY, "503");
	check_state(&term, TERM_STALE, "a term is stale after a 503");
	fail(&term, ERR_NOT_FOUND, "404");
	check_state(&term, TERM_GONE, "a term is gone after a 404");
	fail(&term, ERR_CANCELED, "stopped");
	check_state(&term, TERM_GONE, "a canceled update does not change the state");
	term_status(&term, &status);
	is_int(status.failures, 2, "a canceled update is not counted");
	is_str(status.last_error, "404", "a canceled update keeps the last error");
	term_status_release(&status);

	struct snapshot *before = term_swap(&term, snapshot_ref(second));
	ok(before == first, "a swap returns the previous snapshot");
	snapshot_unref(before);
	check_state(&term, TERM_FRESH, "a published term is fresh");
	term_status(&term, &status);
	ok(!status.last_error && status.error_kind == ERR_NONE && status.failures == 0,
	   "a published term has no error");
	term_status_release(&status);
	int64_t next_ms = clock_boot_ms() + 12345;
	term_succeeded(&term, "2", true, next_ms);
	term_status(&term, &status);
	is_int(status.failures, 0, "a success resets the failures in a row");
	ok(!status.last_error && status.error_kind == ERR_NONE, "a success clears the error");
	is_int(status.failed_total, 2, "a success keeps the total of failures");
	is_int(status.updated_total, 1, "updates are counted");
	is_int(status.unchanged_total, 1, "unchanged updates are counted");
	is_int(status.next_check_at_ms, clock_wall_at(next_ms),
	       "the time of the next update is shown");
	is_str(status.source_version, "2", "the new source version is shown");
	term_status_release(&status);

	struct snapshot *current = term_current(&term);
	ok(current == second, "the new snapshot is the current one");
	snapshot_unref(current);
	snapshot_unref(term_swap(&term, NULL));
	check_state(&term, TERM_ABSENT, "a term whose snapshot is removed is absent");
	snapshot_unref(first);
	snapshot_unref(second);
	term_release(&term);
}

/* The snapshot was confirmed long ago. */
static void test_late(void)
{
	static const struct {
		int64_t interval_ms, due_ago_ms;
		enum term_state state;
		const char *what;
	} rows[] = {
		{ 10, -1000, TERM_FRESH, "an update that is not due yet" },
		{ 10, 1000, TERM_FRESH, "one that has just begun" },
		{ 10, 31000, TERM_STALE, "one that takes longer than 30 s, and the interval" },
		{ 120000, 60000, TERM_FRESH, "one that takes less than the interval" },
		{ 120000, 121000, TERM_STALE, "one that takes longer" },
		{ 86400000, 301000, TERM_STALE, "one that takes longer than 5 min" },
		{ CONFIG_NEVER, 31000, TERM_STALE, "one that was asked for" },
	};
	struct err err = ERR_INIT;
	struct term_status status;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct term_config late = { .name = "t",
					    .refresh_interval_ms = rows[i].interval_ms };
		struct term term;

		if (term_init(&term, &late, snapshot_new("1", "s"), "1", &err) < 0)
			abort();
		term_succeeded(&term, "1", false, clock_boot_ms() - rows[i].due_ago_ms);
		check_state(&term, rows[i].state, rows[i].what);
		is_int(term_state_now(&term), rows[i].state, "the same for the log");
		term_status(&term, &status);
		ok(!status.last_error == (rows[i].state == TERM_FRESH), "the error: %s",
		   status.last_error ? status.last_error : "none");
		is_int(status.failures, 0, "which is no failure yet");
		term_status_release(&status);
		term_confirm(&term);
		check_state(&term, TERM_FRESH, "fresh once the source has answered");
		term_release(&term);
	}
}

#define OWNER 12345
#define USER  1000
#define GROUP 50
#define OTHER 1001

/* Who may read a term with this mode, and with USER and GROUP. */
static void test_restored(void)
{
	static const struct {
		int64_t interval_ms, checked_ago_ms;
		enum term_state state;
		const char *what;
	} rows[] = {
		{ 60000, 1000, TERM_FRESH, "a term that was checked just before the start" },
		{ 60000, -1000, TERM_FRESH, "one whose check lies in the future" },
		{ 60000, 119000, TERM_FRESH, "one whose next check is a little late" },
		{ 60000, 121000, TERM_STALE, "one whose next check is late" },
		{ CONFIG_NEVER, 86400000, TERM_FRESH, "one that is never due" },
	};
	struct err err = ERR_INIT;
	struct term_status status;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct term_config restored = { .name = "t",
						.refresh_interval_ms = rows[i].interval_ms };
		struct term term;

		if (term_init(&term, &restored, snapshot_new("1", "s"), "1", &err) < 0)
			abort();
		term_restore(&term, 0);
		check_state(&term, TERM_STALE, "stale if it is unknown when it was checked");
		term_restore(&term, clock_wall_ms() - rows[i].checked_ago_ms);
		check_state(&term, rows[i].state, rows[i].what);
		term_status(&term, &status);
		ok((status.checked_at_ms == TERM_NO_TIME) == (rows[i].state == TERM_STALE),
		   "it was checked before the start");
		term_status_release(&status);
		fail(&term, ERR_NOT_FOUND, "404");
		term_restore(&term, clock_wall_ms());
		check_state(&term, TERM_GONE, "the first update counts more");
		term_release(&term);
	}
}

static void test_rights_of_modes(void)
{
	static const gid_t groups[] = { 7, GROUP };
	static const struct {
		mode_t mode;
		uid_t uid;
		gid_t gid;
		bool in_groups;
		bool may;
		const char *what;
	} rows[] = {
		{ 0444, OTHER, OTHER, false, true, "0444, anybody" },
		{ 0440, OTHER, OTHER, false, false, "0440, another user" },
		{ 0440, OTHER, GROUP, false, true, "0440, by its group" },
		{ 0440, OTHER, OTHER, true, true, "0440, by a supplementary group" },
		{ 0400, OTHER, GROUP, true, false, "0400, a member of the group" },
		{ 0400, USER, OTHER, false, true, "0400, the user" },
		{ 0044, USER, GROUP, true, false, "0044, the user: the first class counts" },
		{ 0404, OTHER, GROUP, false, false, "0404, a member of the group" },
		{ 0400, 0, 0, false, true, "0400, root" },
		{ 0000, OWNER, OTHER, false, true, "0000, the owner of the mount" },
		{ 0440, (uid_t)-1, (gid_t)-1, false, false, "0440, an unknown user" },
	};
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct term_config private = {
			.name = "t", .mode = rows[i].mode, .user = USER, .group = GROUP
		};
		struct term term = { .config = &private };
		struct term_rights *rights = NULL;
		const struct term_reader reader = { .uid = rows[i].uid,
						    .gid = rows[i].gid,
						    .groups = groups,
						    .n_groups = rows[i].in_groups ? 2 : 0 };

		if (term_rights_new(&rights, &term, 1, OWNER, &err) < 0)
			abort();
		struct term_access access = term_rights_of(rights, &reader);
		is_int(term_rights_include(rights, &access, &term), rows[i].may, "%s",
		       rows[i].what);
		is_int(term_rights_are_full(rights, &access), rows[i].may, "and full or not");
		term_rights_free(rights);
	}
}

/* Terms of more kinds than are told apart are for root and the owner. */
static void test_many_kinds(void)
{
	enum { N = TERM_KINDS_MAX + 2 };
	static struct term_config configs[N];
	static struct term terms[N];
	struct term_rights *rights = NULL;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < N; i++) {
		configs[i] = (struct term_config){ .name = "t", .mode = 0444, .user = (uid_t)i };
		terms[i].config = &configs[i];
	}
	if (term_rights_new(&rights, terms, N, OWNER, &err) < 0)
		abort();
	struct term_access all = term_rights_of(rights, &(struct term_reader){ .uid = OWNER });
	struct term_access some = term_rights_of(rights, &(struct term_reader){ .uid = OTHER });
	ok(term_rights_include(rights, &some, &terms[TERM_KINDS_MAX - 1]), "the last kind");
	ok(!term_rights_include(rights, &some, &terms[N - 1]), "a further kind, for others");
	ok(term_rights_include(rights, &all, &terms[N - 1]), "and for the owner");
	ok(!term_access_equals(&all, &some), "the two are not the same");
	term_rights_free(rights);
}

int main(void)
{
	test_snapshot();
	test_absent();
	test_life();
	test_late();
	test_restored();
	test_rights_of_modes();
	test_many_kinds();
	ok(sizeof(struct term) <= 112, "a term is small: %zu bytes", sizeof(struct term));
	return tap_done();
}
