#include "fetch/attempt.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "fetch/refresher.h"
#include "fetch/retry.h"

#define DIGEST_SHOWN 16 /* hexadecimal digits of the digest that stand in for a token */

void update_state_void(struct update_state *state)
{
	for (size_t i = 0; i < state->config->n_sources; i++)
		source_memory_void(&state->memories[i]);
	free(state->confirm);
	state->confirm = NULL;
}

const char *attempt_source_name(const struct attempt *a, size_t source)
{
	const struct source *s = &a->state->config->sources[source];

	return s->type->describe ? s->type->describe(s->state) : s->type->name;
}

static const struct source *source_of(const struct attempt *a)
{
	return &a->state->config->sources[a->source];
}

static struct source_memory *memory_of(const struct attempt *a)
{
	return &a->state->memories[a->source];
}

static void record(struct attempt *a, enum memory_meaning meaning, const char *token,
		   const char *reason)
{
	source_memory_record(memory_of(a), a->env->store, a->state->config, a->source, meaning,
			     token, reason);
}

static enum step fail(struct attempt *a, const struct err *err, enum step step)
{
	if (err->kind == ERR_CANCELED || cancel_requested(a->env->cancel))
		return STEP_CANCELED;
	source_failures_add(&a->failures, attempt_source_name(a, a->source),
			    a->state->config->n_sources, err);
	return step;
}

/* Fills in what the fetcher leaves out. have is NULL or not empty. */
static enum fetch_result ask(const struct source *source, struct fetch_ctx *ctx,
			     const struct version *have, struct sink *sink, struct fetched *ret,
			     struct err *err)
{
	const struct fetcher_ops *ops = fetcher_of(source);
	struct version now = { "" };

	if (have && ops->download_if_changed)
		return ops->download_if_changed(source->state, ctx, have, sink, ret, err);
	if (have && ops->current_version) {
		if (ops->current_version(source->state, ctx, &now, err) < 0)
			return FETCH_FAILED;
		if (strcmp(now.token, have->token) == 0)
			return FETCH_UNCHANGED;
	}
	return ops->download(source->state, ctx, sink, ret, err) < 0 ? FETCH_FAILED : FETCH_UPDATED;
}

/* The token that need not be downloaded again, or NULL. */
static const char *known_token(const struct attempt *a)
{
	const struct source_memory *memory = memory_of(a);
	const struct forward_confirm *confirm = a->state->confirm;

	/* The answer that decides on going back has to bring the bytes. */
	if (a->source == 0 && memory->meaning == MEMORY_OLDER && confirm &&
	    confirm->answers == FORWARD_CONFIRM_ANSWERS - 1 &&
	    forward_only_is_time(confirm, clock_boot_ms()))
		return NULL;
	return memory->token;
}

static void heed_retry_after(struct attempt *a, int64_t retry_after_ms)
{
	if (retry_after_ms < 0)
		return;
	if (retry_after_ms > RETRY_AFTER_MAX_MS)
		retry_after_ms = RETRY_AFTER_MAX_MS;
	/* A fallback's wish must not delay asking the authority. */
	if (a->source == 0)
		a->advice.retry_after_ms = retry_after_ms;
	else
		memory_of(a)->leave_alone_until_ms = clock_boot_ms() + retry_after_ms;
}

static void explain_older(struct attempt *a, const char *version, enum forward_verdict verdict,
			  struct err *err)
{
	unsigned answers = a->state->confirm ? a->state->confirm->answers : 1;
	char shown[VERSION_SIZE];

	version = version_display(version, shown);
	if (verdict == FORWARD_CONFIRM)
		err_set(err, ERR_BAD_DATA, "version %.128s %s; %u of %d answers agree", version,
			forward_only_reason(verdict), answers, FORWARD_CONFIRM_ANSWERS);
	else
		err_set(err, ERR_BAD_DATA, "version %.128s %s", version,
			forward_only_reason(verdict));
}

/* FETCH_UNCHANGED: the answer is what memory says about the token. */
static enum step take_unchanged(struct attempt *a)
{
	struct source_memory *memory = memory_of(a);
	struct forward_confirm *confirm = a->state->confirm;
	struct err err = ERR_INIT;

	switch (memory->meaning) {
	case MEMORY_CURRENT:
		version_display(memory->token, a->version);
		return STEP_UNCHANGED;
	case MEMORY_REFUSED:
		err_set(&err, ERR_BAD_DATA, "%s",
			memory->reason ? memory->reason : "the body was refused before");
		return fail(a, &err, STEP_END);
	case MEMORY_OLDER:
		if (a->source == 0 && confirm) {
			forward_only_agree(confirm, confirm->sha256, clock_boot_ms());
			explain_older(a, memory->token, FORWARD_CONFIRM, &err);
			a->advice.confirm_in_ms = FORWARD_CONFIRM_MS;
		} else {
			err_set(&err, ERR_BAD_DATA, "%s",
				memory->reason ? memory->reason : "the body is older");
		}
		return fail(a, &err, a->source == 0 ? STEP_END : STEP_NEXT);
	case MEMORY_NOTHING:
		break;
	}
	err_set(&err, ERR_INTERNAL, "the fetcher says \"unchanged\", but was not told from what");
	return fail(a, &err, STEP_NEXT);
}

/* Other bytes may not be newer; the same ones are as good as what is published. */
static enum step take_same(struct attempt *a, const char *token, int64_t order_key)
{
	struct update_state *state = a->state;
	struct source_memory *memory = memory_of(a);
	bool is_known = memory->meaning == MEMORY_CURRENT && strcmp(memory->token, token) == 0;
	/* The store keeps one token a term: rather the authority's than a fallback's. */
	bool is_kept = a->source > 0 && state->memories[0].meaning == MEMORY_CURRENT;
	struct err err = ERR_INIT;

	record(a, MEMORY_CURRENT, token, NULL);
	if (order_key > state->order_key)
		state->order_key = order_key;
	state->is_stranger = false;
	if (a->source == 0) {
		free(state->confirm);
		state->confirm = NULL;
	}
	/* If this fails, the next life downloads once more, no harm is done. */
	if (*token && !is_known && !is_kept &&
	    store_set_token(a->env->store, state->config->name, token, source_of(a)->fingerprint,
			    &err) < 0)
		source_memory_set(memory, MEMORY_NOTHING, NULL, NULL);
	return STEP_UNCHANGED;
}

static enum step take_older(struct attempt *a, const char *token, enum forward_verdict verdict)
{
	struct err err = ERR_INIT;

	explain_older(a, *token ? token : a->version, verdict, &err);
	record(a, MEMORY_OLDER, token, err.msg);
	if (verdict == FORWARD_CONFIRM)
		a->advice.confirm_in_ms = FORWARD_CONFIRM_MS;
	return fail(a, &err, a->source == 0 ? STEP_END : STEP_NEXT);
}

/* backwards = confirm: does this answer complete the number that must agree? */
static bool is_confirmed(struct attempt *a, const uint8_t sha256[DIGEST_SIZE])
{
	struct update_state *state = a->state;

	if (!state->confirm)
		state->confirm = calloc(1, sizeof(*state->confirm));
	return state->confirm && forward_only_agree(state->confirm, sha256, clock_boot_ms());
}

static enum step publish(struct attempt *a, struct store_writer *writer, const struct fetched *f,
			 int64_t order_key)
{
	struct update_state *state = a->state;
	int64_t now_ms = clock_wall_ms();
	struct snapshot_info info = {
		.version = *f->shown_version ? f->shown_version : a->version,
		.source = attempt_source_name(a, a->source),
		.source_version = *f->version.token ? f->version.token : NULL,
		.source_fingerprint = source_of(a)->fingerprint,
		.mtime_ms = f->last_modified_ms >= 0 ? f->last_modified_ms : now_ms,
		.fetched_at_ms = now_ms,
		.order_key = order_key,
	};
	struct snapshot *snapshot = NULL;
	struct err err = ERR_INIT;

	if (store_commit(a->env->store, writer, state->config->name, &info, state->config->history,
			 &snapshot, &err) < 0)
		return fail(a, &err, STEP_NEXT);
	a->bytes = snapshot->size_bytes;
	update_state_void(state);
	state->snapshot_id = snapshot->id;
	state->order_key = order_key;
	state->is_stranger = false;
	record(a, MEMORY_CURRENT, f->version.token, NULL);
	term_confirm(a->term);
	a->env->publish(a->env->publish_arg, a->term, snapshot);
	return STEP_UPDATED;
}

/* The body could not be had, or is not wanted: a bad one is remembered, for what would it help to
 * ask somebody else for it? */
static enum step refuse(struct attempt *a, const char *token, const struct err *err)
{
	if (err->kind != ERR_BAD_DATA)
		return fail(a, err, STEP_NEXT);
	if (*token)
		record(a, MEMORY_REFUSED, token, err->msg);
	return fail(a, err, STEP_END);
}

/* FETCH_UPDATED: all bytes are in the sink. */
static enum step take_body(struct attempt *a, struct sink *sink, const struct fetched *f)
{
	struct update_state *state = a->state;
	int64_t order_key = f->order_key >= 0 ? f->order_key : f->last_modified_ms;
	struct store_writer *writer = NULL;
	uint8_t sha256[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;

	if (sink_finish(sink, &writer, sha256, &err) < 0)
		return refuse(a, f->version.token, &err);
	if (*f->version.token)
		version_display(f->version.token, a->version);
	else
		snprintf(a->version, sizeof(a->version), "sha256:%.*s", DIGEST_SHOWN,
			 digest_hex(sha256, hex));
	if (a->current && memcmp(sha256, a->current->sha256, DIGEST_SIZE) == 0)
		return take_same(a, f->version.token, order_key);
	if (a->current) {
		/* Order keys of a source that is no longer configured restrain nobody but
		 * fallbacks. */
		bool is_free = state->is_stranger && a->source == 0;
		enum forward_verdict verdict = forward_only_judge(
			state->config, a->source, is_free ? FETCHED_UNKNOWN : state->order_key,
			order_key);

		if (verdict == FORWARD_CONFIRM && is_confirmed(a, sha256))
			verdict = FORWARD_TAKE;
		if (verdict != FORWARD_TAKE)
			return take_older(a, f->version.token, verdict);
	}
	if (cancel_requested(a->env->cancel))
		return STEP_CANCELED;
	return publish(a, writer, f, order_key);
}

static enum step take_failure(struct attempt *a, struct sink **sink, const struct fetched *f,
			      const struct err *err)
{
	bool is_interrupted = err->kind == ERR_UNREACHABLE || err->kind == ERR_BUSY;

	if (err->kind == ERR_CANCELED || cancel_requested(a->env->cancel))
		return STEP_CANCELED;
	heed_retry_after(a, f->retry_after_ms);
	if (is_interrupted && sink_keep(*sink))
		memory_of(a)->kept = steal_ptr(sink);
	return refuse(a, f->version.token, err);
}

static int take_sink(struct attempt *a, struct sink **ret, struct err *err)
{
	struct sink *kept = steal_ptr(&memory_of(a)->kept);

	if (!kept)
		return sink_new(ret, a->env->store, a->state->config->min_size_bytes,
				a->state->config->max_size_bytes, err);
	sink_resume(kept);
	*ret = kept;
	return 0;
}

/* The first source's place with its origin was taken by the caller of update_run(). */
static bool may_ask(struct attempt *a, const char *origin, struct err *err)
{
	int64_t alone_ms = memory_of(a)->leave_alone_until_ms - clock_boot_ms();
	char text[CLOCK_HUMAN_SIZE];

	if (a->source == 0)
		return true;
	if (alone_ms > 0) {
		err_set(err, ERR_BUSY, "asked to be left alone for another %s",
			clock_human(alone_ms, text));
		return false;
	}
	if (origin && !a->env->origin_enter(a->env->origin_arg, origin)) {
		err_set(err, ERR_BUSY, "%d updates wait for %s already",
			REFRESHER_THREADS_PER_ORIGIN, origin);
		return false;
	}
	return true;
}

enum step attempt_source(struct attempt *a)
{
	const struct source *source = source_of(a);
	const struct fetcher_ops *ops = fetcher_of(source);
	const char *origin = ops->origin ? ops->origin(source->state) : NULL;
	_cleanup_(sink_free_cleanup) struct sink *sink = NULL;
	struct fetch_ctx ctx = {
		.cancel = a->env->cancel,
		.http = a->env->http,
		.helper = a->env->helper,
	};
	struct fetched fetched = {
		.last_modified_ms = FETCHED_UNKNOWN,
		.order_key = FETCHED_UNKNOWN,
		.fresh_for_ms = FETCHED_UNKNOWN,
		.retry_after_ms = FETCHED_UNKNOWN,
	};
	enum fetch_result result = FETCH_FAILED;
	struct version have;
	struct err err = ERR_INIT;
	enum step step = STEP_NEXT;

	if (!may_ask(a, origin, &err))
		return fail(a, &err, STEP_NEXT);
	if (take_sink(a, &sink, &err) == 0) {
		const char *token = known_token(a);

		snprintf(have.token, sizeof(have.token), "%s", token ? token : "");
		result = ask(source, &ctx, token ? &have : NULL, sink, &fetched, &err);
	}
	if (origin)
		a->env->origin_leave(a->env->origin_arg, origin);
	switch (result) {
	case FETCH_UPDATED:
		step = take_body(a, sink, &fetched);
		break;
	case FETCH_UNCHANGED:
		step = take_unchanged(a);
		break;
	case FETCH_FAILED:
		step = sink ? take_failure(a, &sink, &fetched, &err) : fail(a, &err, STEP_NEXT);
		break;
	}
	if (step == STEP_UPDATED || step == STEP_UNCHANGED)
		a->advice.fresh_for_ms = fetched.fresh_for_ms;
	return step;
}
