#include "term/term.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"

#define LOCKS 64

/* An update is late if it has not ended one interval after it was due. The interval counts as at
 * least LATE_MIN_MS and at most LATE_MAX_MS. */
#define LATE_MIN_MS 30000
#define LATE_MAX_MS 300000

static pthread_mutex_t locks[LOCKS] = { [0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER };

static pthread_mutex_t *lock_of(const struct term *term)
{
	return &locks[(uintptr_t)term / sizeof(*term) % LOCKS];
}

static void lock(const struct term *term)
{
	pthread_mutex_lock(lock_of(term));
}

static void unlock(const struct term *term)
{
	pthread_mutex_unlock(lock_of(term));
}

/* Returns NULL for NULL, or if out of memory. */
static char *copy_text(const char *text)
{
	return text ? strdup(text) : NULL;
}

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A time of the wall clock as one of the boot clock; a time in the future becomes now. */
static int64_t boot_time_of(int64_t wall_ms)
{
	int64_t age_ms = clock_wall_ms() - wall_ms;

	return clock_boot_ms() - (age_ms > 0 ? age_ms : 0);
}

static int64_t shown_time(int64_t boot_ms)
{
	return boot_ms == TERM_NO_TIME ? TERM_NO_TIME : clock_wall_at(boot_ms);
}

/* With the lock held. A version equal to that of the snapshot is not kept twice. */
static const char *shown_version(const struct term *term)
{
	const struct snapshot *snapshot = term->current ? term->current : term->hidden;

	if (term->source_version)
		return term->source_version;
	return snapshot ? snapshot->version : NULL;
}

/* With the lock held. Returns the text to free. */
static char *set_version(struct term *term, const char *version)
{
	char *old = NULL;

	/* Most updates find the same version as the update before. */
	if (!is_same_text(shown_version(term), version)) {
		old = term->source_version;
		term->source_version = NULL;
		if (!is_same_text(shown_version(term), version))
			term->source_version = copy_text(version);
	}
	return old;
}

static int compare_to_name(const void *name, const void *term)
{
	return strcmp(name, ((const struct term *)term)->config->name);
}

struct term *term_find(struct term *terms, size_t n_terms, const char *name)
{
	return n_terms ? bsearch(name, terms, n_terms, sizeof(*terms), compare_to_name) : NULL;
}

int term_init(struct term *term, const struct term_config *config, struct snapshot *current,
	      const char *source_version, struct err *err)
{
	*term = (struct term){
		.config = config,
		.state = current ? TERM_STALE : TERM_ABSENT,
		.current = current,
		.checked_at_ms = TERM_NO_TIME,
		.next_check_at_ms = TERM_NO_TIME,
		.confirmed_at_ms = current ? boot_time_of(current->fetched_at_ms) : TERM_NO_TIME,
	};
	if (source_version && !is_same_text(shown_version(term), source_version)) {
		term->source_version = strdup(source_version);
		if (!term->source_version) {
			snapshot_unref(steal_ptr(&term->current));
			return err_set(err, ERR_INTERNAL, "term \"%s\": out of memory",
				       config->name);
		}
	}
	return 0;
}

void term_release(struct term *term)
{
	snapshot_unref(steal_ptr(&term->current));
	snapshot_unref(steal_ptr(&term->hidden));
	free(steal_ptr(&term->source_version));
	free(steal_ptr(&term->last_error));
}

void term_set_confirmed(struct term *term, int64_t wall_ms)
{
	if (!term->current)
		return;
	if (wall_ms > term->current->fetched_at_ms)
		term->confirmed_at_ms = boot_time_of(wall_ms);
	if (term_expire(term) && term->hidden)
		snapshot_unref(steal_ptr(&term->current));
}

const char *term_alias(const struct term *term)
{
	return term->config->alias ? term->config->alias : term->config->name;
}

struct snapshot *term_current(struct term *term)
{
	lock(term);
	struct snapshot *current = term->current ? snapshot_ref(term->current) : NULL;
	unlock(term);
	return current;
}

struct snapshot *term_hidden(struct term *term)
{
	struct snapshot *hidden = NULL;

	lock(term);
	if (term->hidden && atomic_load(&term->hidden->integrity) != SNAPSHOT_CORRUPT)
		hidden = snapshot_ref(term->hidden);
	unlock(term);
	return hidden;
}

struct snapshot *term_latest(struct term *term)
{
	struct snapshot *current = term_current(term);

	return current ? current : term_hidden(term);
}

/* With the lock held, if nothing is published. */
static enum term_state state_without(const struct term *term)
{
	return term->hidden ? TERM_EXPIRED : TERM_ABSENT;
}

/* With the lock held, after a success. Returns the text to free. */
static char *forget_failure(struct term *term)
{
	term->error_kind = ERR_NONE;
	term->failures = 0;
	return steal_ptr(&term->last_error);
}

/* With the lock held, before the last snapshot is dropped: keeps its version. */
static void keep_version(struct term *term)
{
	const char *version = shown_version(term);

	if (!term->source_version)
		term->source_version = copy_text(version);
}

struct snapshot *term_swap(struct term *term, struct snapshot *next)
{
	_cleanup_free_ char *error = NULL;

	lock(term);
	struct snapshot *previous = term->current;
	if (!next && (!previous || !term->hidden))
		keep_version(term);
	struct snapshot *hidden = next || !previous ? steal_ptr(&term->hidden) : NULL;
	term->current = next;
	/* The update has not ended yet, but a reader of the new snapshot must not see "stale" or an
	 * error. */
	if (next)
		error = forget_failure(term);
	term->state = next ? TERM_FRESH : state_without(term);
	unlock(term);
	if (!previous)
		return hidden;
	snapshot_unref(hidden);
	return previous;
}

/* Was it due so long ago that the term is stale? */
static bool is_late_since(const struct term *term, int64_t due_ms, int64_t now_ms)
{
	int64_t may_take_ms = term->config->refresh_interval_ms;

	if (may_take_ms < LATE_MIN_MS)
		may_take_ms = LATE_MIN_MS;
	if (may_take_ms > LATE_MAX_MS)
		may_take_ms = LATE_MAX_MS;
	return now_ms - due_ms > may_take_ms;
}

/* With the lock held. */
static bool is_late(const struct term *term, int64_t now_ms)
{
	int64_t due_ms = term->next_check_at_ms;

	/* The source has answered: what it sent is being published. */
	if (due_ms != TERM_NO_TIME && due_ms < term->confirmed_at_ms)
		due_ms = term->confirmed_at_ms;
	return due_ms != TERM_NO_TIME && is_late_since(term, due_ms, now_ms);
}

/* With the lock held. */
static enum term_state state_at(const struct term *term, int64_t now_ms)
{
	if (term->state == TERM_FRESH && is_late(term, now_ms))
		return TERM_STALE;
	return (enum term_state)term->state;
}

void term_restore(struct term *term, int64_t checked_wall_ms)
{
	int64_t interval_ms = term->config->refresh_interval_ms;
	int64_t checked_at_ms = boot_time_of(checked_wall_ms);

	lock(term);
	bool is_late = interval_ms != CONFIG_NEVER &&
		       is_late_since(term, checked_at_ms + interval_ms, clock_boot_ms());
	if (checked_wall_ms && !is_late && term->state == TERM_STALE &&
	    term->checked_at_ms == TERM_NO_TIME) {
		term->state = TERM_FRESH;
		term->checked_at_ms = checked_at_ms;
	}
	unlock(term);
}

static void explain_lateness(struct term_status *status)
{
	char due[CLOCK_HUMAN_SIZE];

	clock_human(clock_wall_ms() - status->next_check_at_ms, due);
	if (asprintf(&status->last_error, "the update that was due %s ago has not ended", due) < 0)
		status->last_error = NULL;
	status->error_kind = ERR_UNREACHABLE;
}

void term_status(struct term *term, struct term_status *ret)
{
	lock(term);
	enum term_state state = state_at(term, clock_boot_ms());
	bool is_late = state != (enum term_state)term->state;
	*ret = (struct term_status){
		.state = state,
		.source_version = copy_text(shown_version(term)),
		.last_error = copy_text(term->last_error),
		.error_kind = (enum err_kind)term->error_kind,
		.failures = term->failures,
		.checked_at_ms = term->checked_at_ms,
		.next_check_at_ms = term->next_check_at_ms,
		.confirmed_at_ms = term->confirmed_at_ms,
		.updated_total = term->updated_total,
		.unchanged_total = term->unchanged_total,
		.failed_total = term->failed_total,
	};
	unlock(term);
	ret->checked_at_ms = shown_time(ret->checked_at_ms);
	ret->next_check_at_ms = shown_time(ret->next_check_at_ms);
	ret->confirmed_at_ms = shown_time(ret->confirmed_at_ms);
	if (is_late)
		explain_lateness(ret);
}

enum term_state term_state_now(struct term *term)
{
	lock(term);
	enum term_state state = state_at(term, clock_boot_ms());
	unlock(term);
	return state;
}

void term_status_release(struct term_status *status)
{
	free(steal_ptr(&status->source_version));
	free(steal_ptr(&status->last_error));
}

void term_succeeded(struct term *term, const char *source_version, bool is_updated,
		    int64_t next_check_at_ms)
{
	int64_t now_ms = clock_boot_ms();
	_cleanup_free_ char *error = NULL;
	_cleanup_free_ char *version = NULL;

	lock(term);
	version = set_version(term, source_version);
	error = forget_failure(term);
	term->state = term->current ? TERM_FRESH : state_without(term);
	term->checked_at_ms = now_ms;
	term->next_check_at_ms = next_check_at_ms;
	if (is_updated)
		term->updated_total++;
	else
		term->unchanged_total++;
	unlock(term);
}

/* With the lock held. */
static bool is_overdue(const struct term *term, int64_t now_ms)
{
	int64_t max_ms = term->config->max_stale_ms;

	return max_ms && now_ms - term->confirmed_at_ms >= max_ms;
}

/* With the lock held, after a failure. */
static enum term_state failed_state(const struct term *term, int64_t now_ms)
{
	if (!term->current)
		return state_without(term);
	if (term->state == TERM_EXPIRED && is_overdue(term, now_ms))
		return TERM_EXPIRED;
	return term->error_kind == ERR_NOT_FOUND ? TERM_GONE : TERM_STALE;
}

void term_failed(struct term *term, const struct err *err, int64_t next_check_at_ms)
{
	int64_t now_ms = clock_boot_ms();
	_cleanup_free_ char *error = NULL;

	if (err->kind == ERR_CANCELED)
		return;
	lock(term);
	if (!is_same_text(term->last_error, err->msg)) {
		error = term->last_error;
		term->last_error = copy_text(err->msg);
	}
	term->error_kind = (uint8_t)err->kind;
	term->failures++;
	term->failed_total++;
	term->checked_at_ms = now_ms;
	term->next_check_at_ms = next_check_at_ms;
	term->state = failed_state(term, now_ms);
	unlock(term);
}

void term_set_next_check(struct term *term, int64_t boot_ms)
{
	lock(term);
	term->next_check_at_ms = boot_ms;
	unlock(term);
}

void term_confirm(struct term *term)
{
	lock(term);
	term->confirmed_at_ms = clock_boot_ms();
	unlock(term);
}

int64_t term_expires_at(struct term *term)
{
	int64_t at_ms = INT64_MAX;

	if (!term->config->max_stale_ms)
		return at_ms;
	lock(term);
	if (term->current && term->state != TERM_EXPIRED)
		at_ms = term->confirmed_at_ms + term->config->max_stale_ms;
	unlock(term);
	return at_ms;
}

bool term_expire(struct term *term)
{
	bool has_expired = false;

	lock(term);
	if (term->current && term->state != TERM_EXPIRED && is_overdue(term, clock_boot_ms())) {
		has_expired = true;
		term->state = TERM_EXPIRED;
		if (term->config->on_expire == ON_EXPIRE_HIDE)
			term->hidden = snapshot_ref(term->current);
	}
	unlock(term);
	return has_expired;
}

const char *term_state_name(enum term_state state)
{
	switch (state) {
	case TERM_ABSENT:
		return "absent";
	case TERM_FRESH:
		return "fresh";
	case TERM_STALE:
		return "stale";
	case TERM_GONE:
		return "gone";
	case TERM_EXPIRED:
		return "expired";
	}
	return "unknown";
}
