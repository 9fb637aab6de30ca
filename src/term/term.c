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
	};
	term->current = steal_ptr(&taken);
	return 0;
}

void term_release(struct term *term)
{
	snapshot_unref(term->current);
	term->current = NULL;
	term_status_release(&term->status);
	pthread_mutex_destroy(&term->lock);
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

struct snapshot *term_swap(struct term *term, struct snapshot *next)
{
	pthread_mutex_lock(&term->lock);
	struct snapshot *previous = term->current;
	term->current = next;
	/* What is published was just fetched: whoever sees it at once must not be told "stale"
	 * because the update that published it has still to report its success. */
	term->status.state = next ? TERM_FRESH : TERM_ABSENT;
	pthread_mutex_unlock(&term->lock);
	return previous;
}

void term_status(struct term *term, struct term_status *ret)
{
	pthread_mutex_lock(&term->lock);
	*ret = term->status;
	ret->source_version = copy_text(term->status.source_version);
	ret->last_error = copy_text(term->status.last_error);
	pthread_mutex_unlock(&term->lock);
}

void term_status_release(struct term_status *status)
{
	free(steal_ptr(&status->source_version));
	free(steal_ptr(&status->last_error));
}

void term_succeeded(struct term *term, const char *source_version, bool updated)
{
	int64_t now_ms = clock_wall_ms();
	_cleanup_free_ char *error = NULL;
	_cleanup_free_ char *version = NULL;
	struct term_status *status = &term->status;

	pthread_mutex_lock(&term->lock);
	/* Most attempts find what the one before found. */
	if (!is_same_text(status->source_version, source_version)) {
		version = status->source_version;
		status->source_version = copy_text(source_version);
	}
	error = steal_ptr(&status->last_error);
	status->error_kind = ERR_NONE;
	status->failures = 0;
	status->state = term->current ? TERM_FRESH : TERM_ABSENT;
	status->checked_at_ms = now_ms;
	if (updated)
		status->updated_total++;
	else
		status->unchanged_total++;
	pthread_mutex_unlock(&term->lock);
}

void term_failed(struct term *term, const struct err *err)
{
	int64_t now_ms = clock_wall_ms();
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
	if (!term->current)
		status->state = TERM_ABSENT;
	else
		status->state = err->kind == ERR_NOT_FOUND ? TERM_GONE : TERM_STALE;
	pthread_mutex_unlock(&term->lock);
}

void term_set_next_check(struct term *term, int64_t wall_ms)
{
	pthread_mutex_lock(&term->lock);
	term->status.next_check_at_ms = wall_ms;
	pthread_mutex_unlock(&term->lock);
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
	}
	return "unknown";
}
