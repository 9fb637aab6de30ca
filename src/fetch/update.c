#include "fetch/update.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetch/attempt.h"

#define CONFIRMED_NOTED \
	10 /* so many times in max_stale the store is told that a source confirmed */

DEFINE_CLEANUP(struct update_state, update_state_free)

const char *update_outcome_name(enum update_outcome outcome)
{
	switch (outcome) {
	case UPDATE_UPDATED:
		return "updated";
	case UPDATE_UNCHANGED:
		return "unchanged";
	case UPDATE_FAILED:
		return "failed";
	case UPDATE_CANCELED:
		return "canceled";
	}
	return "failed";
}

int update_state_new(struct update_state **ret, const struct term_config *config, const char *token,
		     uint64_t fingerprint, struct err *err)
{
	size_t n = config->n_sources;
	_cleanup_(update_state_free_cleanup) struct update_state *state = calloc(
		1, sizeof(*state) + n * sizeof(state->memories[0]));

	if (!state)
		return err_set(err, ERR_INTERNAL, "term \"%s\": out of memory", config->name);
	state->config = config;
	state->is_stranger = true;
	for (size_t i = 0; i < n; i++) {
		bool is_its = state->is_stranger && config->sources[i].fingerprint == fingerprint;

		if (is_its) {
			source_memory_set(&state->memories[i], MEMORY_CURRENT, token, NULL);
			state->is_stranger = false;
			state->answering = (uint32_t)i;
		}
	}
	*ret = steal_ptr(&state);
	return 0;
}

void update_state_refuse(struct update_state *state, const struct store_refusal *refusal)
{
	for (size_t i = 0; i < state->config->n_sources; i++) {
		if (source_memory_is_refusal_of(refusal, state->config, i))
			source_memory_set(&state->memories[i], MEMORY_REFUSED, refusal->token,
					  refusal->reason);
	}
}

void update_state_free(struct update_state *state)
{
	if (!state)
		return;
	for (size_t i = 0; i < state->config->n_sources; i++)
		source_memory_release(&state->memories[i]);
	free(state->confirm);
	free(state);
}

bool update_is_stranger(const struct update_state *state)
{
	return state->is_stranger;
}

/* Between two updates somebody else may have changed what is current: a corrupt snapshot was
 * dropped, or the first update of a life finds what the store had. */
static void recognise(struct update_state *state, const struct snapshot *current)
{
	uint64_t id = current ? current->id : 0;

	if (state->has_run ? id != state->snapshot_id : !current)
		update_state_void(state);
	if (id != state->snapshot_id || !state->has_run)
		state->order_key = current ? current->order_key : FETCHED_UNKNOWN;
	state->snapshot_id = id;
	state->has_run = true;
}

static const char *human_next(int64_t next_ms, char text[CLOCK_HUMAN_SIZE])
{
	return next_ms < 0 ? "on_request" : clock_human(next_ms, text);
}

/* What readers get, for the line about a failure. */
static const char *describe_serving(struct term *term, char *text, size_t size)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);
	char age[CLOCK_HUMAN_SIZE];

	if (!current)
		return "nothing";
	int64_t age_ms = clock_wall_ms() - current->fetched_at_ms;
	snprintf(text, size, "version %s of %s ago", current->version,
		 clock_human(age_ms > 0 ? age_ms : 0, age));
	return text;
}

static void report_success(struct attempt *a, bool is_updated, enum term_state before,
			   int64_t next_ms)
{
	struct update_state *state = a->state;
	bool has_moved = state->answering != a->source;
	enum log_level level = is_updated ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
	enum update_outcome outcome = is_updated ? UPDATE_UPDATED : UPDATE_UNCHANGED;
	uint64_t bytes = is_updated ? a->bytes : a->current->size_bytes;
	char next[CLOCK_HUMAN_SIZE];

	/* That another source answers now is a change too, and not a silent one. */
	if (has_moved)
		level = a->failures.n ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
	/* So is the end of what was reported as a warning. */
	if (before == TERM_EXPIRED && level == LOG_LEVEL_DEBUG)
		level = LOG_LEVEL_INFO;
	state->answering = (uint32_t)a->source;
	log_event(level, update_outcome_name(outcome), LOG_STR("term", state->config->name),
		  LOG_STR("source", attempt_source_name(a, a->source)),
		  LOG_STR("outcome", update_outcome_name(outcome)), LOG_STR("version", a->version),
		  LOG_STR("after", before == TERM_EXPIRED ? term_state_name(before) : NULL),
		  LOG_INT("bytes", (int64_t)bytes),
		  LOG_INT("duration_ms", clock_boot_ms() - a->began_ms),
		  LOG_STR("next", human_next(next_ms, next)),
		  LOG_STR("kind", a->failures.n ? err_kind_name(a->failures.first_kind) : NULL),
		  LOG_STR("error", a->failures.n ? a->failures.text : NULL));
}

static void report_failure(struct attempt *a, bool is_removed, int64_t next_ms,
			   const struct err *err)
{
	char serving[VERSION_SIZE + 64];
	char next[CLOCK_HUMAN_SIZE];

	log_event(is_removed ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
		  is_removed ? "removed" : "failed", LOG_STR("term", a->state->config->name),
		  LOG_STR("source", attempt_source_name(a, 0)),
		  LOG_STR("outcome", update_outcome_name(UPDATE_FAILED)),
		  LOG_INT("duration_ms", clock_boot_ms() - a->began_ms),
		  LOG_STR("next", human_next(next_ms, next)),
		  LOG_STR("kind", err_kind_name(err->kind)), LOG_STR("error", err->msg),
		  LOG_STR("serving", describe_serving(a->term, serving, sizeof(serving))));
}

/* For max_stale over a restart; what is not noted expires a little early then. A commit notes the
 * time by itself. */
static void note_confirmed(struct attempt *a, bool is_updated)
{
	struct update_state *state = a->state;
	int64_t now_ms = clock_boot_ms();
	struct err err = ERR_INIT;

	if (!state->config->max_stale_ms ||
	    (!is_updated && state->confirmed_noted_ms &&
	     now_ms - state->confirmed_noted_ms < state->config->max_stale_ms / CONFIRMED_NOTED))
		return;
	state->confirmed_noted_ms = now_ms;
	if (!is_updated &&
	    store_set_confirmed(a->env->store, state->config->name, clock_wall_ms(), &err) < 0)
		log_event(LOG_LEVEL_DEBUG, "not_noted", LOG_STR("term", state->config->name),
			  LOG_STR("error", err.msg));
}

/* The source has confirmed what had expired and was hidden: its bytes are shown again, as a new
 * snapshot, for a node id that the kernel was told is gone does not come back. */
static int show_hidden(struct attempt *a, struct err *err)
{
	const struct term_config *config = a->state->config;
	struct snapshot *shown = NULL;

	term_confirm(a->term);
	_cleanup_(snapshot_unref_cleanup) struct snapshot *hidden = term_hidden(a->term);
	if (!hidden)
		return 0;
	if (store_republish(a->env->store, hidden, config->name, config->history, &shown, err) <
	    0) {
		/* Its bytes are lost: the next attempt has to fetch them. */
		if (err->kind == ERR_NOT_FOUND)
			a->env->publish(a->env->publish_arg, a->term, NULL);
		err->kind = ERR_INTERNAL;
		return err_prefix(err, "showing version %.128s again", hidden->version);
	}
	a->state->snapshot_id = shown->id;
	a->env->publish(a->env->publish_arg, a->term, shown);
	return 0;
}

/* on_delete = remove: the name goes away, durably first. */
static bool remove_if_gone(struct attempt *a, struct err *err)
{
	const struct term_config *config = a->state->config;

	if (config->on_delete != ON_DELETE_REMOVE || !a->current ||
	    !source_failures_mean_gone(&a->failures))
		return false;
	if (store_remove_current(a->env->store, config->name, err) < 0)
		return false;
	a->env->publish(a->env->publish_arg, a->term, NULL);
	return true;
}

/* The end of an attempt in which a source gave, or confirmed, what is served. */
static void succeed(struct attempt *a, enum update_outcome outcome, enum term_state before,
		    int64_t next_ms)
{
	bool is_updated = outcome == UPDATE_UPDATED;

	term_succeeded(a->term, a->version, is_updated);
	note_confirmed(a, is_updated);
	report_success(a, is_updated, before, next_ms);
}

enum update_outcome update_run(struct update_state *state, struct term *term,
			       const struct update_env *env,
			       int64_t (*next_in_ms)(void *arg, enum update_outcome outcome,
						     enum err_kind kind,
						     const struct update_advice *advice),
			       void *next_arg, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_latest(term);
	struct attempt a = {
		.state = state,
		.term = term,
		.env = env,
		.current = current,
		.began_ms = clock_boot_ms(),
		.advice = { FETCHED_UNKNOWN, FETCHED_UNKNOWN, FETCHED_UNKNOWN },
	};
	enum term_state before = term_state_now(term);
	enum step step = STEP_NEXT;

	recognise(state, current);
	for (size_t i = 0; i < state->config->n_sources && step == STEP_NEXT; i++) {
		a.source = i;
		step = attempt_source(&a);
	}
	if (step == STEP_UNCHANGED && show_hidden(&a, err) < 0) {
		source_failures_add(&a.failures, attempt_source_name(&a, a.source), 1, err);
		step = STEP_END;
	}
	if (step == STEP_CANCELED) {
		err_set(err, ERR_CANCELED, "told to stop");
		next_in_ms(next_arg, UPDATE_CANCELED, ERR_CANCELED, &a.advice);
		return UPDATE_CANCELED;
	}
	if (step == STEP_UPDATED || step == STEP_UNCHANGED) {
		enum update_outcome outcome = step == STEP_UPDATED ? UPDATE_UPDATED
								   : UPDATE_UNCHANGED;
		succeed(&a, outcome, before, next_in_ms(next_arg, outcome, ERR_NONE, &a.advice));
		return outcome;
	}
	source_failures_set(&a.failures, err);
	bool is_removed = remove_if_gone(&a, err);
	int64_t next_ms = next_in_ms(next_arg, UPDATE_FAILED,
				     err->kind == ERR_INTERNAL ? err->kind : a.failures.plan_kind,
				     &a.advice);
	term_failed(term, err);
	report_failure(&a, is_removed, next_ms, err);
	return UPDATE_FAILED;
}
