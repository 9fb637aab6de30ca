#include "term/term.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"

/* NULL stays NULL, and becomes of a text if memory is short. */
static char *copy_text(const char *text)
{
	return text ? strdup(text) : NULL;
}

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* When that was, as far as the wall clock tells: it was never later than now. */
static int64_t boot_time_of(int64_t wall_ms)
{
	int64_t age_ms = clock_wall_ms() - wall_ms;

	return clock_boot_ms() - (age_ms > 0 ? age_ms : 0);
}

/* A time that is unset stays so. */
static int64_t shown_time(int64_t boot_ms)
{
	return boot_ms == TERM_NO_TIME ? TERM_NO_TIME : clock_wall_at(boot_ms);
}

int term_init(struct term *term, const struct term_config *config, struct snapshot *current,
	      const char *source_version, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *taken = current;
	_cleanup_free_ char *version = copy_text(source_version);

	if (source_version && !version)
		return err_set(err, ERR_INTERNAL, "term \"%s\": out of memory", config->name);
	errno = pthread_mutex_init(&term->lock, NULL);
	if (errno)
		return err_errno(err, "term \"%s\": mutex", config->name);
	term->config = config;
	term->status = (struct term_status){
		.state = current ? TERM_STALE : TERM_ABSENT,
		.source_version = steal_ptr(&version),
		.checked_at_ms = TERM_NO_TIME,
		.next_check_at_ms = TERM_NO_TIME,
		.confirmed_at_ms = TERM_NO_TIME,
	};
	term->hidden = NULL;
	term->current = steal_ptr(&taken);
	if (term->current)
		term->status.confirmed_at_ms = boot_time_of(term->current->fetched_at_ms);
	return 0;
}

void term_release(struct term *term)
{
	snapshot_unref(steal_ptr(&term->current));
	snapshot_unref(steal_ptr(&term->hidden));
	term_status_release(&term->status);
	pthread_mutex_destroy(&term->lock);
}

void term_set_confirmed(struct term *term, int64_t wall_ms)
{
	if (!term->current)
		return;
	if (wall_ms > term->current->fetched_at_ms)
		term->status.confirmed_at_ms = boot_time_of(wall_ms);
	if (term_expire(term) && term->hidden)
		snapshot_unref(steal_ptr(&term->current));
}

const char *term_alias(const struct term *term)
{
	return term->config->alias ? term->config->alias : term->config->name;
}

struct snapshot *term_current(struct term *term)
{
	pthread_mutex_lock(&term->lock);
	struct snapshot *current = term->current ? snapshot_ref(term->current) : NULL;
	pthread_mutex_unlock(&term->lock);
	return current;
}

struct snapshot *term_hidden(struct term *term)
{
	struct snapshot *hidden = NULL;

	pthread_mutex_lock(&term->lock);
	if (term->hidden && atomic_load(&term->hidden->integrity) != SNAPSHOT_CORRUPT)
		hidden = snapshot_ref(term->hidden);
	pthread_mutex_unlock(&term->lock);
	return hidden;
}

struct snapshot *term_latest(struct term *term)
{
	struct snapshot *current = term_current(term);

	return current ? current : term_hidden(term);
}

/* With the lock held, when nothing is published. */
static enum term_state state_without(const struct term *term)
{
	return term->hidden ? TERM_EXPIRED : TERM_ABSENT;
}

/* With the lock held: the last attempt has not failed. Returns what to free. */
static char *forget_failure(struct term_status *status)
{
	status->error_kind = ERR_NONE;
	status->failures = 0;
	return steal_ptr(&status->last_error);
}

struct snapshot *term_swap(struct term *term, struct snapshot *next)
{
	_cleanup_free_ char *error = NULL;

	pthread_mutex_lock(&term->lock);
	struct snapshot *previous = term->current;
	struct snapshot *hidden = next || !previous ? steal_ptr(&term->hidden) : NULL;
	term->current = next;
	/* What is published was just fetched: whoever sees it at once must not be told "stale", or
	 * of an error, because the update that published it has still to report its success. */
	if (next)
		error = forget_failure(&term->status);
	term->status.state = next ? TERM_FRESH : state_without(term);
	pthread_mutex_unlock(&term->lock);
	if (!previous)
		return hidden;
	snapshot_unref(hidden);
	return previous;
}

void term_status(struct term *term, struct term_status *ret)
{
	pthread_mutex_lock(&term->lock);
	*ret = term->status;
	ret->source_version = copy_text(term->status.source_version);
	ret->last_error = copy_text(term->status.last_error);
	pthread_mutex_unlock(&term->lock);
	ret->checked_at_ms = shown_time(ret->checked_at_ms);
	ret->next_check_at_ms = shown_time(ret->next_check_at_ms);
	ret->confirmed_at_ms = shown_time(ret->confirmed_at_ms);
}

enum term_state term_state_now(struct term *term)
{
	pthread_mutex_lock(&term->lock);
	enum term_state state = term->status.state;
	pthread_mutex_unlock(&term->lock);
	return state;
}

void term_status_release(struct term_status *status)
{
	free(steal_ptr(&status->source_version));
	free(steal_ptr(&status->last_error));
}

void term_succeeded(struct term *term, const char *source_version, bool updated)
{
	int64_t now_ms = clock_boot_ms();
	_cleanup_free_ char *error = NULL;
	_cleanup_free_ char *version = NULL;
	struct term_status *status = &term->status;

	pthread_mutex_lock(&term->lock);
	/* Most attempts find what the one before found. */
	if (!is_same_text(status->source_version, source_version)) {
		version = status->source_version;
		status->source_version = copy_text(source_version);
	}
	error = forget_failure(status);
	status->state = term->current ? TERM_FRESH : state_without(term);
	status->checked_at_ms = now_ms;
	status->confirmed_at_ms = now_ms;
	if (updated)
		status->updated_total++;
	else
		status->unchanged_total++;
	pthread_mutex_unlock(&term->lock);
}

/* With the lock held. */
static bool is_overdue(const struct term *term, int64_t now_ms)
{
	int64_t max_ms = term->config->max_stale_ms;

	return max_ms && now_ms - term->status.confirmed_at_ms >= max_ms;
}

/* With the lock held, after a failure. */
static enum term_state failed_state(const struct term *term, int64_t now_ms)
{
	if (!term->current)
		return state_without(term);
	if (term->status.state == TERM_EXPIRED && is_overdue(term, now_ms))
		return TERM_EXPIRED;
	return term->status.error_kind == ERR_NOT_FOUND ? TERM_GONE : TERM_STALE;
}

void term_failed(struct term *term, const struct err *err)
{
	int64_t now_ms = clock_boot_ms();
	_cleanup_free_ char *error = NULL;
	struct term_status *status = &term->status;

	if (err->kind == ERR_CANCELED)
		return;
	pthread_mutex_lock(&term->lock);
	if (!is_same_text(status->last_error, err->msg)) {
		error = status->last_error;
		status->last_error = copy_text(err->msg);
	}
	status->error_kind = err->kind;
	status->failures++;
	status->failed_total++;
	status->checked_at_ms = now_ms;
	status->state = failed_state(term, now_ms);
	pthread_mutex_unlock(&term->lock);
}

void term_set_next_check(struct term *term, int64_t boot_ms)
{
	pthread_mutex_lock(&term->lock);
	term->status.next_check_at_ms = boot_ms;
	pthread_mutex_unlock(&term->lock);
}

void term_confirm(struct term *term)
{
	pthread_mutex_lock(&term->lock);
	term->status.confirmed_at_ms = clock_boot_ms();
	pthread_mutex_unlock(&term->lock);
}

int64_t term_expires_at(struct term *term)
{
	int64_t at_ms = INT64_MAX;

	if (!term->config->max_stale_ms)
		return at_ms;
	pthread_mutex_lock(&term->lock);
	if (term->current && term->status.state != TERM_EXPIRED)
		at_ms = term->status.confirmed_at_ms + term->config->max_stale_ms;
	pthread_mutex_unlock(&term->lock);
	return at_ms;
}

bool term_expire(struct term *term)
{
	bool has_expired = false;

	pthread_mutex_lock(&term->lock);
	if (term->current && term->status.state != TERM_EXPIRED &&
	    is_overdue(term, clock_boot_ms())) {
		has_expired = true;
		term->status.state = TERM_EXPIRED;
		if (term->config->on_expire == ON_EXPIRE_HIDE)
			term->hidden = snapshot_ref(term->current);
	}
	pthread_mutex_unlock(&term->lock);
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
