#include "fetch/attempt.h"

#include <string.h>

#include "base/clock.h"
#include "fetch/retry.h"
#include "fetch/sink.h"
#include "http/http.h"

/* Without max_received: room for error pages, redirects, and a body that is requested again. */
#define RECEIVED_BESIDES (UINT64_C(8) << 20)

#define DIGEST_SHOWN 16 /* hexadecimal digits of the digest that stand in for a token */

const char *attempt_source_name(const struct term_config *config, size_t source)
{
	const struct source *s = &config->sources[source];

	return s->type->describe ? s->type->describe(s->state) : s->type->name;
}

static const struct term_config *config_of(const struct attempt *a)
{
	return a->memory->config;
}

static const struct source *source_of(const struct attempt *a)
{
	return &config_of(a)->sources[a->source];
}

static struct source_memory *memory_of(const struct attempt *a)
{
	return &a->memory->sources[a->source];
}

static void record(struct attempt *a, enum memory_meaning meaning, const char *version,
		   const char *reason)
{
	source_memory_record(memory_of(a), a->env->store, config_of(a), a->source, meaning, version,
			     reason);
}

/* With a->err set. */
static enum attempt_result fail(const struct attempt *a, enum attempt_result result)
{
	bool is_canceled = a->err.kind == ERR_CANCELED || cancel_requested(a->env->cancel);

	return is_canceled ? ATTEMPT_CANCELED : result;
}

/* The answer must not be taken. The next source is asked only if this one is a fallback. */
static enum attempt_result fail_older(const struct attempt *a)
{
	return fail(a, a->source == 0 ? ATTEMPT_END : ATTEMPT_NEXT);
}

/* Fills in for the functions that a fetcher leaves out. have is NULL or not empty. */
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

/* Is it time to ask without condition (the option revalidate)? */
static bool is_revalidation_due(const struct attempt *a, const struct version *version)
{
	int64_t age_ms = clock_wall_ms() - version->sent_at_ms;

	return config_of(a)->revalidate_ms && (age_ms < 0 || age_ms >= config_of(a)->revalidate_ms);
}

/* The version whose bytes need not be downloaded again. False: there is none. */
static bool known_version(const struct attempt *a, struct version *ret)
{
	const struct source_memory *memory = memory_of(a);
	const struct forward_confirm *confirm = a->memory->confirm;

	/* The answer that completes a confirmation has to bring the bytes. */
	if (a->source == 0 && memory->meaning == MEMORY_OLDER && confirm &&
	    confirm->answers == FORWARD_CONFIRM_ANSWERS - 1 &&
	    forward_only_is_time(confirm, clock_boot_ms()))
		return false;
	if (!memory->version || a->is_forced)
		return false;
	version_read(ret, memory->version);
	return !is_revalidation_due(a, ret);
}

static void heed_retry_after(struct attempt *a, int64_t retry_after_ms)
{
	if (retry_after_ms < 0)
		return;
	if (retry_after_ms > RETRY_AFTER_MAX_MS)
		retry_after_ms = RETRY_AFTER_MAX_MS;
	/* The Retry-After of a fallback must not delay requests to the authority. */
	if (a->source == 0)
		a->advice->retry_after_ms = retry_after_ms;
	else
		memory_of(a)->leave_alone_until_ms = clock_boot_ms() + retry_after_ms;
}

static void explain_older(struct attempt *a, const char *version, enum forward_verdict verdict)
{
	const struct forward_confirm *confirm = a->memory->confirm;
	char shown[VERSION_SIZE];

	version = version_display(version, shown);
	if (verdict == FORWARD_CONFIRM)
		err_set(&a->err, ERR_BAD_DATA, "version %.128s %s; %u of %d answers agree", version,
			forward_only_reason(verdict), confirm ? confirm->answers : 1,
			FORWARD_CONFIRM_ANSWERS);
	else
		err_set(&a->err, ERR_BAD_DATA, "version %.128s %s", version,
			forward_only_reason(verdict));
}

static void explain_remembered(struct attempt *a, const char *otherwise)
{
	const char *reason = memory_of(a)->reason;

	err_set(&a->err, ERR_BAD_DATA, "%s", reason ? reason : otherwise);
}

/* The source calls the bytes of the current snapshot by this version now. Returns -1 if the store
 * could not note that. */
static int note_current(struct attempt *a, const char *version)
{
	const struct source_memory *memory = memory_of(a);
	bool is_known = memory->meaning == MEMORY_CURRENT && strcmp(memory->version, version) == 0;
	/* The store keeps one token per term, and prefers the authority's. */
	bool is_kept = a->source > 0 && a->memory->sources[0].meaning == MEMORY_CURRENT;
	struct err err = ERR_INIT;

	if (is_known)
		return 0;
	record(a, MEMORY_CURRENT, version, NULL);
	if (!*version || is_kept)
		return 0;
	return store_set_token(a->env->store, config_of(a)->name, version,
			       source_of(a)->fingerprint, &err);
}

/* The answer may have replaced the notes of the version that it confirms. */
static void note_confirmed(struct attempt *a, const struct version *answer)
{
	char text[VERSION_TEXT_SIZE];
	struct version version;

	if (!*answer->token)
		return;
	version_read(&version, memory_of(a)->version);
	memcpy(version.notes, answer->notes, sizeof(version.notes));
	note_current(a, version_text(&version, text));
}

/* FETCH_UNCHANGED: the result is what is remembered of the token. */
static enum attempt_result take_unchanged(struct attempt *a, const struct fetched *f)
{
	struct source_memory *memory = memory_of(a);
	struct forward_confirm *confirm = a->memory->confirm;

	switch (memory->meaning) {
	case MEMORY_CURRENT:
		note_confirmed(a, &f->version);
		version_display(memory->version, a->version);
		return ATTEMPT_UNCHANGED;
	case MEMORY_REFUSED:
		explain_remembered(a, "the body was refused before");
		return fail(a, ATTEMPT_END);
	case MEMORY_OLDER:
		if (a->source == 0 && confirm) {
			forward_only_agree(confirm, confirm->sha256, clock_boot_ms());
			explain_older(a, memory->version, FORWARD_CONFIRM);
			a->advice->confirm_in_ms = FORWARD_CONFIRM_MS;
		} else {
			explain_remembered(a, "the body is older");
		}
		return fail_older(a);
	case MEMORY_NOTHING:
		break;
	}
	err_set(&a->err, ERR_INTERNAL,
		"the fetcher answered \"unchanged\" to an unconditional request");
	return fail(a, ATTEMPT_NEXT);
}

/* A body with the digest of the current one is never refused: newer or not, it is the same. */
static enum attempt_result take_same(struct attempt *a, const char *version, int64_t order_key)
{
	struct term_memory *memory = a->memory;

	/* If this fails, the next update downloads once more. */
	if (note_current(a, version) < 0)
		source_memory_set(memory_of(a), MEMORY_NOTHING, NULL, NULL);
	if (order_key > memory->order_key)
		memory->order_key = order_key;
	memory->is_stranger = false;
	if (a->source == 0)
		free(steal_ptr(&memory->confirm));
	return ATTEMPT_UNCHANGED;
}

static enum attempt_result take_older(struct attempt *a, const char *version,
				      enum forward_verdict verdict)
{
	explain_older(a, *version ? version : a->version, verdict);
	record(a, MEMORY_OLDER, version, a->err.msg);
	if (verdict == FORWARD_CONFIRM)
		a->advice->confirm_in_ms = FORWARD_CONFIRM_MS;
	return fail_older(a);
}

/* backwards = confirm: with this answer, do enough answers agree? */
static bool is_confirmed(struct attempt *a, const uint8_t sha256[DIGEST_SIZE])
{
	struct term_memory *memory = a->memory;

	if (!memory->confirm)
		memory->confirm = calloc(1, sizeof(*memory->confirm));
	return memory->confirm && forward_only_agree(memory->confirm, sha256, clock_boot_ms());
}

static enum attempt_result commit(struct attempt *a, struct store_writer *writer,
				  const struct fetched *f, const char *version, int64_t order_key)
{
	struct term_memory *memory = a->memory;
	int64_t now_ms = clock_wall_ms();
	struct snapshot_info info = {
		.version = *f->shown_version ? f->shown_version : a->version,
		.source = attempt_source_name(memory->config, a->source),
		.source_version = *version ? version : NULL,
		.source_fingerprint = source_of(a)->fingerprint,
		.mtime = memory->config->mtime == MTIME_SOURCE ? f->last_modified : CLOCK_NO_TIME,
		.fetched_at_ms = now_ms,
		.order_key = order_key,
	};

	if (cancel_requested(a->env->cancel))
		return ATTEMPT_CANCELED;
	if (store_commit(a->env->store, writer, memory->config->name, &info,
			 memory->config->history, &a->committed, &a->err) < 0)
		return fail(a, ATTEMPT_NEXT);
	term_memory_void(memory);
	memory->snapshot_id = a->committed->id;
	memory->order_key = order_key;
	memory->is_stranger = false;
	record(a, MEMORY_CURRENT, version, NULL);
	return ATTEMPT_COMMITTED;
}

/* The body could not be fetched, or is refused. A bad one is remembered, and ends the update: if
 * the data is wrong at one source, asking another one does not make it right. */
static enum attempt_result refuse(struct attempt *a, const struct version *version)
{
	char text[VERSION_TEXT_SIZE];

	if (a->err.kind != ERR_BAD_DATA)
		return fail(a, ATTEMPT_NEXT);
	if (*version->token)
		record(a, MEMORY_REFUSED, version_text(version, text), a->err.msg);
	return fail(a, ATTEMPT_END);
}

static enum forward_verdict judge(struct attempt *a, const uint8_t sha256[DIGEST_SIZE],
				  int64_t order_key)
{
	const struct term_memory *memory = a->memory;
	/* The order key of a source that is no longer configured restrains fallbacks only. */
	bool is_free = memory->is_stranger && a->source == 0;
	enum forward_verdict verdict;

	if (!a->current)
		return FORWARD_TAKE;
	verdict = forward_only_judge(memory->config, a->source,
				     is_free ? FETCHED_UNKNOWN : memory->order_key, order_key);
	return verdict == FORWARD_CONFIRM && is_confirmed(a, sha256) ? FORWARD_TAKE : verdict;
}

/* All times before 1970 are equally old. */
static int64_t order_of(struct timespec last_modified)
{
	int64_t ms = clock_to_ms(last_modified);

	if (!clock_is_time(last_modified))
		return FETCHED_UNKNOWN;
	return ms > 0 ? ms : 0;
}

/* FETCH_UPDATED: all bytes are in the sink. */
static enum attempt_result take_body(struct attempt *a, struct sink *sink, const struct fetched *f)
{
	int64_t order_key = f->order_key >= 0 ? f->order_key : order_of(f->last_modified);
	struct store_writer *writer = NULL;
	uint8_t sha256[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE], version[VERSION_TEXT_SIZE];

	if (sink_finish(sink, &writer, sha256, &a->err) < 0)
		return refuse(a, &f->version);
	if (*version_text(&f->version, version))
		version_display(version, a->version);
	else
		snprintf(a->version, sizeof(a->version), "sha256:%.*s", DIGEST_SHOWN,
			 digest_hex(sha256, hex));
	if (a->current && memcmp(sha256, a->current->sha256, DIGEST_SIZE) == 0)
		return take_same(a, version, order_key);
	enum forward_verdict verdict = judge(a, sha256, order_key);
	if (verdict != FORWARD_TAKE)
		return take_older(a, version, verdict);
	return commit(a, writer, f, version, order_key);
}

static enum attempt_result take_failure(struct attempt *a, struct sink **sink,
					const struct fetched *f)
{
	bool is_interrupted = a->err.kind == ERR_UNREACHABLE || a->err.kind == ERR_BUSY;

	if (a->err.kind == ERR_CANCELED || cancel_requested(a->env->cancel))
		return ATTEMPT_CANCELED;
	heed_retry_after(a, f->retry_after_ms);
	if (is_interrupted && sink_keep(*sink))
		memory_of(a)->kept = steal_ptr(sink);
	return refuse(a, &f->version);
}

static uint64_t max_received(const struct term_config *config)
{
	uint64_t max_bytes = config->max_size_bytes;

	if (config->max_received_bytes)
		return config->max_received_bytes;
	return max_bytes > (UINT64_MAX - RECEIVED_BESIDES) / 2 ? UINT64_MAX
							       : 2 * max_bytes + RECEIVED_BESIDES;
}

static struct http_budget make_budget(const struct term_config *config)
{
	return (struct http_budget){
		.timeout_ms = config->attempt_timeout_ms,
		.deadline_ms = clock_boot_ms() + config->attempt_timeout_ms,
		.min_rate = config->min_rate,
		.max_bytes = max_received(config),
	};
}

static int open_sink(struct attempt *a, const struct http_budget *budget, struct sink **ret)
{
	struct sink *sink = steal_ptr(&memory_of(a)->kept);

	if (a->is_forced)
		sink_free(steal_ptr(&sink));
	if (sink)
		sink_resume(sink);
	else if (sink_new(&sink, a->env->store, config_of(a)->min_size_bytes,
			  config_of(a)->max_size_bytes, &a->err) < 0)
		return -1;
	sink_set_deadline(sink, budget->deadline_ms, budget->timeout_ms);
	*ret = sink;
	return 0;
}

/* A fallback is asked only if its last Retry-After has passed and its origin has a free place. */
static int may_ask(struct attempt *a)
{
	const struct fetcher_ops *ops = fetcher_of(source_of(a));
	const char *origin = ops->origin ? ops->origin(source_of(a)->state) : NULL;
	int64_t alone_ms = memory_of(a)->leave_alone_until_ms - clock_boot_ms();
	char text[CLOCK_HUMAN_SIZE];

	if (a->source == 0)
		return 0;
	if (alone_ms > 0)
		return err_set(&a->err, ERR_BUSY, "its Retry-After ends in %s",
			       clock_human(alone_ms, text));
	if (!origin_place_take(a->env->places, origin, a->place))
		return err_set(&a->err, ERR_BUSY, "too many updates are waiting for %s", origin);
	return 0;
}

static enum fetch_result fetch(struct attempt *a, struct http_budget *budget, struct sink *sink,
			       struct fetched *ret)
{
	struct fetch_ctx ctx = {
		.cancel = a->env->cancel,
		.http = a->env->http,
		.budget = budget,
		.helper = a->env->helper,
	};
	struct version have;

	*ret = (struct fetched){
		.last_modified = CLOCK_NO_TIME,
		.order_key = FETCHED_UNKNOWN,
		.fresh_for_ms = FETCHED_UNKNOWN,
		.retry_after_ms = FETCHED_UNKNOWN,
	};
	enum fetch_result result = ask(source_of(a), &ctx, known_version(a, &have) ? &have : NULL,
				       sink, ret, &a->err);
	ret->version.sent_at_ms = config_of(a)->revalidate_ms ? clock_wall_ms() : 0;
	return result;
}

enum attempt_result attempt_run(struct attempt *a)
{
	_cleanup_(sink_free_cleanup) struct sink *sink = NULL;
	enum attempt_result result = ATTEMPT_NEXT;
	struct fetched fetched;

	struct http_budget budget = make_budget(config_of(a));

	if (may_ask(a) < 0 || open_sink(a, &budget, &sink) < 0)
		return fail(a, ATTEMPT_NEXT);
	enum fetch_result answer = fetch(a, &budget, sink, &fetched);
	if (answer != FETCH_FAILED)
		origin_place_answered(a->place);
	switch (answer) {
	case FETCH_UPDATED:
		result = take_body(a, sink, &fetched);
		break;
	case FETCH_UNCHANGED:
		result = take_unchanged(a, &fetched);
		break;
	case FETCH_FAILED:
		return take_failure(a, &sink, &fetched);
	}
	if (result == ATTEMPT_COMMITTED || result == ATTEMPT_UNCHANGED)
		a->advice->fresh_for_ms = fetched.fresh_for_ms;
	return result;
}
