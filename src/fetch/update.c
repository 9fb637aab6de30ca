#include "fetch/update.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetch/attempt.h"

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

int update_state_new(struct update_state **ret, const struct term_config *config,
		     struct store *store, const char *token, uint64_t fingerprint, struct err *err)
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

		if (memory_load(&state->memories[i], store, config, i, is_its ? token : NULL, err) <
		    0)
			return -1;
		if (is_its) {
			state->is_stranger = false;
			state->answering = (uint32_t)i;
		}
	}
	*ret = steal_ptr(&state);
	return 0;
}

void update_state_free(struct update_state *state)
{
	if (!state)
		return;
	for (size_t i = 0; i < state->config->n_sources; i++)
		memory_release(&state->memories[i]);
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

static void report_success(struct attempt *a, bool is_updated, int64_t next_ms)
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
	state->answering = (uint32_t)a->source;
	log_event(level, update_outcome_name(outcome), LOG_STR("term", state->config->name),
		  LOG_STR("source", attempt_source_name(a, a->source)),
		  LOG_STR("outcome", update_outcome_name(outcome)), LOG_STR("version", a->version),
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

/* on_delete = remove: the name goes away, durably first. */
static bool remove_if_gone(struct attempt *a, struct err *err)
{
	const struct term_config *config = a->state->config;

	if (config->on_delete != ON_DELETE_REMOVE || !a->current ||
	    !failures_mean_gone(&a->failures))
		return false;
	if (store_remove_current(a->env->store, config->name, err) < 0)
		return false;
	a->env->publish(a->env->publish_arg, a->term, NULL);
	return true;
}

enum update_outcome update_run(struct update_state *state, struct term *term,
			       const struct update_env *env,
			       int64_t (*next_in_ms)(void *arg, enum update_outcome outcome,
						     enum err_kind kind,
						     const struct update_advice *advice),
			       void *next_arg, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);
	struct attempt a = {
		.state = state,
		.term = term,
		.env = env,
		.current = current,
		.began_ms = clock_boot_ms(),
		.advice = { FETCHED_UNKNOWN, FETCHED_UNKNOWN, FETCHED_UNKNOWN },
	};
	enum step step = STEP_NEXT;
	enum update_outcome outcome;

	recognise(state, current);
	for (size_t i = 0; i < state->config->n_sources && step == STEP_NEXT; i++) {
		a.source = i;
		step = attempt_source(&a);
	}
	if (step == STEP_CANCELED) {
		err_set(err, ERR_CANCELED, "told to stop");
		next_in_ms(next_arg, UPDATE_CANCELED, ERR_CANCELED, &a.advice);
		return UPDATE_CANCELED;
	}
	if (step == STEP_UPDATED || step == STEP_UNCHANGED) {
		outcome = step == STEP_UPDATED ? UPDATE_UPDATED : UPDATE_UNCHANGED;
		int64_t next_ms = next_in_ms(next_arg, outcome, ERR_NONE, &a.advice);
		term_succeeded(term, a.version, outcome == UPDATE_UPDATED);
		report_success(&a, outcome == UPDATE_UPDATED, next_ms);
		return outcome;
	}
	failures_set(&a.failures, err);
	bool is_removed = remove_if_gone(&a, err);
	int64_t next_ms = next_in_ms(next_arg, UPDATE_FAILED,
				     err->kind == ERR_INTERNAL ? err->kind : a.failures.plan_kind,
				     &a.advice);
	term_failed(term, err);
	report_failure(&a, is_removed, next_ms, err);
	return UPDATE_FAILED;
}
