#include "fetch/update.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

/* How many times per max_stale the store notes a confirmation. */
#define CONFIRMED_NOTES 10

/* How often the store notes that a check has succeeded. */
#define CHECK_NOTE_MS 30000

/* Others may change a watched file without pause. That must not fill the log. */
#define LOG_WINDOW_MS 10000
#define LOG_LINES_MAX 100

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

static const struct term_config *config_of(const struct update *update)
{
	return update->term->config;
}

static const char *source_name(const struct update *update, size_t source)
{
	return attempt_source_name(config_of(update), source);
}

/* ---- what is published ---- */

/* Takes the reference. */
static int publish(const struct update *update, const struct fetch_env *env,
		   struct snapshot *snapshot, struct err *err)
{
	return env->publish(env->publish_arg, update->term, snapshot, err);
}

/* Takes the reference to a snapshot that was just committed. If it cannot be published now, the
 * next update tries again. */
static int publish_committed(const struct update *update, const struct fetch_env *env,
			     struct snapshot *snapshot, struct err *err)
{
	struct term_memory *memory = update->memory;
	struct snapshot *kept = snapshot_ref(snapshot);

	if (publish(update, env, snapshot, err) < 0) {
		memory->unpublished = kept;
		return -1;
	}
	snapshot_unref(kept);
	return 0;
}

/* Takes the place of the current snapshot, a reference. Returns 1 if there was something to
 * publish, 0 if not, -1 if it cannot be published yet. */
static int publish_held_back(struct update *update, const struct fetch_env *env,
			     struct snapshot **current, struct err *err)
{
	struct snapshot *snapshot = steal_ptr(&update->memory->unpublished);

	if (!snapshot)
		return 0;
	snprintf(update->version, sizeof(update->version), "%s", snapshot->version);
	if (publish_committed(update, env, snapshot_ref(snapshot), err) < 0) {
		snapshot_unref(snapshot);
		return -1;
	}
	snapshot_unref(*current);
	*current = snapshot;
	return 1;
}

/* The source has confirmed what had expired and was hidden. Its bytes are shown again as a new
 * snapshot: the kernel was notified that the old node id is gone, so it must not come back. */
static int show_hidden(struct update *update, const struct fetch_env *env, struct err *err)
{
	const struct term_config *config = config_of(update);
	struct snapshot *shown = NULL;

	_cleanup_(snapshot_unref_cleanup) struct snapshot *hidden = term_hidden(update->term);
	if (!hidden)
		return 0;
	if (store_republish(env->store, hidden, config->name, config->history, &shown, err) < 0) {
		struct err ignored = ERR_INIT;

		/* Its bytes are lost: the next update has to fetch them. */
		if (err->kind == ERR_NOT_FOUND)
			publish(update, env, NULL, &ignored);
		err->kind = ERR_INTERNAL;
		return err_prefix(err, "showing version %.128s again", hidden->version);
	}
	update->memory->snapshot_id = shown->id;
	return publish_committed(update, env, shown, err);
}

/* on_delete = remove: the name goes away, first from the store. */
static bool remove_if_gone(struct update *update, const struct fetch_env *env, bool has_current)
{
	const struct term_config *config = config_of(update);

	if (config->on_delete != ON_DELETE_REMOVE || !has_current ||
	    !source_failures_mean_gone(&update->failures))
		return false;
	return store_remove_current(env->store, config->name, &update->err) == 0 &&
	       publish(update, env, NULL, &update->err) == 0;
}

/* ---- the update ---- */

static enum attempt_result fail_source(struct update *update, const struct err *err,
				       size_t n_sources, enum attempt_result result)
{
	source_failures_add(&update->failures, source_name(update, update->source), n_sources, err);
	return result;
}

/* Makes one attempt, and publishes what it committed. */
static enum attempt_result attempt(struct update *update, const struct fetch_env *env,
				   const struct snapshot *current, struct origin_place *place)
{
	struct attempt a = {
		.env = env,
		.memory = update->memory,
		.current = current,
		.source = update->source,
		.is_forced = update->is_forced,
		.place = place,
		.advice = &update->advice,
	};

	enum attempt_result result = attempt_run(&a);
	memcpy(update->version, a.version, sizeof(update->version));
	/* First, so that the term does not expire while it is published. */
	if (result == ATTEMPT_COMMITTED || result == ATTEMPT_UNCHANGED)
		term_confirm(update->term);
	switch (result) {
	case ATTEMPT_COMMITTED:
		update->bytes = a.committed->size_bytes;
		if (publish_committed(update, env, a.committed, &a.err) < 0)
			return fail_source(update, &a.err, 1, ATTEMPT_END);
		break;
	case ATTEMPT_UNCHANGED:
		update->bytes = current ? current->size_bytes : 0;
		if (show_hidden(update, env, &a.err) < 0)
			return fail_source(update, &a.err, 1, ATTEMPT_END);
		break;
	case ATTEMPT_NEXT:
	case ATTEMPT_END:
		return fail_source(update, &a.err, config_of(update)->n_sources, result);
	case ATTEMPT_CANCELED:
		break;
	}
	return result;
}

static void fail(struct update *update, const struct fetch_env *env, bool has_current)
{
	update->outcome = UPDATE_FAILED;
	source_failures_set(&update->failures, &update->err);
	update->is_removed = remove_if_gone(update, env, has_current);
	update->plan_kind = update->err.kind == ERR_INTERNAL ? ERR_INTERNAL
							     : update->failures.plan_kind;
}

void update_run(struct update *ret, struct term_memory *memory, struct term *term, bool is_forced,
		const struct fetch_env *env, struct origin_place *place)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_latest(term);
	enum attempt_result result = ATTEMPT_NEXT;
	struct err err = ERR_INIT;

	*ret = (struct update){
		.advice = { FETCHED_UNKNOWN, FETCHED_UNKNOWN, FETCHED_UNKNOWN },
		.err = ERR_INIT,
		.is_forced = is_forced,
		.term = term,
		.memory = memory,
		.store = env->store,
		.began_ms = clock_boot_ms(),
		.before = term_state_now(term),
	};
	int held_back = publish_held_back(ret, env, &current, &err);
	if (held_back < 0) {
		origin_place_leave(place);
		result = fail_source(ret, &err, 1, ATTEMPT_END);
	} else {
		term_memory_recognise(memory, current);
	}
	for (size_t i = 0; i < term->config->n_sources && result == ATTEMPT_NEXT; i++) {
		ret->source = i;
		result = attempt(ret, env, current, place);
		origin_place_leave(place);
	}
	switch (result) {
	case ATTEMPT_COMMITTED:
		ret->outcome = UPDATE_UPDATED;
		break;
	case ATTEMPT_UNCHANGED:
		ret->outcome = held_back ? UPDATE_UPDATED : UPDATE_UNCHANGED;
		break;
	case ATTEMPT_CANCELED:
		ret->outcome = UPDATE_CANCELED;
		err_set(&ret->err, ERR_CANCELED, "canceled");
		break;
	case ATTEMPT_NEXT:
	case ATTEMPT_END:
		fail(ret, env, current != NULL);
		break;
	}
}

/* ---- the conclusion ---- */

/* A term with max_stale must keep the time of its last confirmation over a restart. A commit
 * includes this note. Each note costs a transaction of the store. */
static void note_confirmed(struct update *update)
{
	const struct term_config *config = config_of(update);
	struct term_memory *memory = update->memory;
	bool is_updated = update->outcome == UPDATE_UPDATED;
	int64_t now_ms = clock_boot_ms();
	struct err err = ERR_INIT;

	if (!config->max_stale_ms ||
	    (!is_updated && memory->confirmed_noted_ms &&
	     now_ms - memory->confirmed_noted_ms < config->max_stale_ms / CONFIRMED_NOTES))
		return;
	memory->confirmed_noted_ms = now_ms;
	if (!is_updated &&
	    store_set_confirmed(update->store, config->name, clock_wall_ms(), &err) < 0)
		log_event(LOG_LEVEL_DEBUG, "not_noted", LOG_STR("term", config->name),
			  LOG_STR("error", err.msg));
}

/* For the next worker, before anybody sees the state. */
static void note_check(struct update *update)
{
	struct term_memory *memory = update->memory;
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(update->term);
	bool has_failed = update->outcome == UPDATE_FAILED;
	int64_t now_ms = clock_boot_ms();

	if (!current ||
	    (!has_failed && memory->check_noted_ms && update->outcome != UPDATE_UPDATED &&
	     now_ms - memory->check_noted_ms < CHECK_NOTE_MS))
		return;
	memory->check_noted_ms = has_failed ? 0 : now_ms;
	store_note_check(update->store, current, has_failed ? 0 : clock_wall_ms());
}

static bool may_log(const struct update *update)
{
	struct term_memory *memory = update->memory;
	uint16_t window = (uint16_t)(clock_boot_ms() / LOG_WINDOW_MS);

	if (memory->log_window != window)
		memory->n_logged = 0;
	memory->log_window = window;
	if (memory->n_logged > LOG_LINES_MAX)
		return false;
	if (memory->n_logged++ < LOG_LINES_MAX)
		return true;
	log_event(LOG_LEVEL_INFO, "log_limited", LOG_STR("term", config_of(update)->name),
		  LOG_INT("lines", LOG_LINES_MAX),
		  LOG_STR("consequence", "no line about its updates for up to 10s"));
	return false;
}

static const char *human_next(int64_t next_in_ms, char text[CLOCK_HUMAN_SIZE])
{
	return next_in_ms < 0 ? "on_request" : clock_human(next_in_ms, text);
}

static enum log_level level_of_success(const struct update *update)
{
	/* A change of the answering source is always logged. */
	if (update->memory->answering != update->source)
		return update->failures.n ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
	/* The end of a state that was logged as a warning is logged as well. */
	if (update->outcome == UPDATE_UPDATED || update->before == TERM_EXPIRED)
		return LOG_LEVEL_INFO;
	return LOG_LEVEL_DEBUG;
}

static void report_success(const struct update *update, int64_t next_in_ms)
{
	const char *outcome = update_outcome_name(update->outcome);
	const struct source_failures *failures = &update->failures;
	enum log_level level = level_of_success(update);
	char next[CLOCK_HUMAN_SIZE];

	if (level != LOG_LEVEL_DEBUG && !may_log(update))
		return;
	log_event(level, outcome, LOG_STR("term", config_of(update)->name),
		  LOG_STR("source", source_name(update, update->source)),
		  LOG_STR("outcome", outcome), LOG_STR("version", update->version),
		  LOG_STR("after",
			  update->before == TERM_EXPIRED ? term_state_name(update->before) : NULL),
		  LOG_INT("bytes", (int64_t)update->bytes),
		  LOG_INT("duration_ms", clock_boot_ms() - update->began_ms),
		  LOG_STR("next", human_next(next_in_ms, next)),
		  LOG_STR("kind", failures->n ? err_kind_name(failures->first_kind) : NULL),
		  LOG_STR("error", failures->n ? failures->text : NULL));
}

/* Describes what readers get. */
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

static void report_failure(const struct update *update, int64_t next_in_ms)
{
	char serving[VERSION_SIZE + 64];
	char next[CLOCK_HUMAN_SIZE];

	if (!may_log(update))
		return;
	log_event(
		update->is_removed ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
		update->is_removed ? "removed" : "failed", LOG_STR("term", config_of(update)->name),
		LOG_STR("source", source_name(update, 0)),
		LOG_STR("outcome", update_outcome_name(update->outcome)),
		LOG_INT("duration_ms", clock_boot_ms() - update->began_ms),
		LOG_STR("next", human_next(next_in_ms, next)),
		LOG_STR("kind", err_kind_name(update->err.kind)), LOG_STR("error", update->err.msg),
		LOG_STR("serving", describe_serving(update->term, serving, sizeof(serving))));
}

void update_conclude(struct update *update, int64_t next_in_ms, int64_t next_at_ms)
{
	switch (update->outcome) {
	case UPDATE_UPDATED:
	case UPDATE_UNCHANGED:
		note_check(update);
		term_succeeded(update->term, update->version, update->outcome == UPDATE_UPDATED,
			       next_at_ms);
		note_confirmed(update);
		report_success(update, next_in_ms);
		update->memory->answering = (uint32_t)update->source;
		break;
	case UPDATE_FAILED:
		note_check(update);
		term_failed(update->term, &update->err, next_at_ms);
		report_failure(update, next_in_ms);
		break;
	case UPDATE_CANCELED:
		break;
	}
}
