#include "fetch/refresher.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "fetch/expiry.h"
#include "fetch/network_wake.h"
#include "fetch/retry.h"
#include "fetch/thread_pool.h"
#include "fetch/update_plan.h"
#include "fetch/watch.h"
#include "http/http.h"

#define MACHINE_ID_SIZE 64

/* Sources without an origin share one: files of a dead file server must not take all threads. */
#define ORIGIN_LOCAL ""

/* Runs the updates of one term. */
struct runner {
	struct term_memory *memory; /* owned; used by the update that runs */
	struct origin *origin;	    /* of the first source */
	union {			    /* of a term that is WAITING */
		struct origin_waiter waiter;
		struct thread_pool_job job;
	};
	uint32_t share; /* see retry.h */
	bool is_watched;
};

struct refresher {
	struct term *terms; /* borrowed */
	size_t n_terms;
	struct fetch_env env;
	struct runner *runners; /* owned; one per term */
	struct update_plan plan;
	struct origin_places *places; /* owned */
	struct thread_pool *pool;     /* owned */
	struct watch *watch;	      /* owned; NULL: nothing is watched */
	struct expiry *expiry;	      /* owned; NULL: nothing expires */
	struct network_wake wake;     /* the scheduler's */

	int (*publish)(void *arg, struct term *term, struct snapshot *snapshot, struct err *err);
	void *publish_arg;

	pthread_t scheduler;
	bool is_started;
};

static size_t index_of(const struct refresher *refresher, const struct runner *runner)
{
	return (size_t)(runner - refresher->runners);
}

/* fetch_env.publish of the updates. */
static int publish(void *arg, struct term *term, struct snapshot *snapshot, struct err *err)
{
	struct refresher *refresher = arg;

	expiry_yield(refresher->expiry, term);
	return refresher->publish(refresher->publish_arg, term, snapshot, err);
}

/* ---- the scheduler ---- */

static void submit(struct refresher *refresher, struct runner *runner)
{
	thread_pool_submit(refresher->pool, &runner->job);
}

/* The origin's place is the waiting runner's now. */
static void inherited(void *arg, struct origin_waiter *waiter)
{
	submit(arg, container_of(waiter, struct runner, waiter));
}

static void submit_due(struct refresher *refresher)
{
	size_t index;

	update_plan_spread_overdue(&refresher->plan);
	while (update_plan_take_due(&refresher->plan, &index)) {
		struct runner *runner = &refresher->runners[index];

		if (origin_place_take_or_wait(refresher->places, runner->origin, &runner->waiter))
			submit(refresher, runner);
	}
}

/* Gives places to updates that wait, and returns for how long the scheduler may sleep; -1: until
 * something happens. */
static int timeout_ms(struct refresher *refresher)
{
	int review_ms = origin_places_review(refresher->places);
	int wake_ms = network_wake_timeout_ms(&refresher->wake);

	return review_ms < 0 || (wake_ms >= 0 && wake_ms < review_ms) ? wake_ms : review_ms;
}

static void *scheduler_main(void *arg)
{
	struct refresher *refresher = arg;
	struct network_wake *wake = &refresher->wake;
	struct cancel *cancel = refresher->env.cancel;
	enum { CANCEL, TIMER, NETWORK };
	struct pollfd fds[] = {
		[CANCEL] = { .fd = cancel->fd, .events = POLLIN },
		[TIMER] = { .fd = refresher->plan.timer, .events = POLLIN },
		[NETWORK] = { .fd = network_wake_fd(wake), .events = POLLIN },
	};
	uint64_t expirations;

	pthread_setname_np(pthread_self(), "scheduler");
	while (!cancel_requested(cancel)) {
		if (poll(fds, ARRAY_SIZE(fds), timeout_ms(refresher)) < 0)
			continue;
		if (fds[NETWORK].revents && network_wake_read(wake))
			http_close_idle(refresher->env.http);
		network_wake_act(wake);
		if (read(fds[TIMER].fd, &expirations, sizeof(expirations)) > 0)
			submit_due(refresher);
	}
	update_plan_stop(&refresher->plan);
	return NULL;
}

/* ---- an update ---- */

/* The time that the source asks for, but short enough that the term does not expire before. */
static int64_t heed_freshness(const struct term_config *config, int64_t fresh_for_ms)
{
	int64_t max_ms = config->max_stale_ms / 2;

	return max_ms && fresh_for_ms > max_ms ? max_ms : fresh_for_ms;
}

static int64_t plan_after_success(struct refresher *refresher, const struct runner *runner,
				  const struct update *update)
{
	const struct term_config *config = update->term->config;
	int64_t fresh_for_ms = heed_freshness(config, update->advice.fresh_for_ms);

	update_plan_succeeded(&refresher->plan, index_of(refresher, runner));
	int64_t in_ms = retry_after_success(config->refresh_interval_ms, fresh_for_ms,
					    runner->share);
	/* A fallback has answered, but the Retry-After of the first source has not passed. */
	if (in_ms >= 0 && in_ms < update->advice.retry_after_ms)
		return update->advice.retry_after_ms;
	return in_ms;
}

static int64_t plan_after_failure(struct refresher *refresher, const struct runner *runner,
				  const struct update *update)
{
	int64_t retry_after_ms = update->advice.retry_after_ms;
	bool is_unreachable = update->plan_kind == ERR_UNREACHABLE && retry_after_ms < 0;
	uint64_t random;
	unsigned failures = update_plan_failed(&refresher->plan, index_of(refresher, runner),
					       is_unreachable, &random);

	if (update->advice.confirm_in_ms >= 0)
		return update->advice.confirm_in_ms;
	return retry_after_failure(update->plan_kind, update->term->config->refresh_interval_ms,
				   failures, retry_after_ms, runner->share, random);
}

/* When the next update is, from now; RETRY_NEVER: only on request. */
static int64_t plan_next(struct refresher *refresher, const struct runner *runner,
			 const struct update *update)
{
	switch (update->outcome) {
	case UPDATE_UPDATED:
	case UPDATE_UNCHANGED:
		return plan_after_success(refresher, runner, update);
	case UPDATE_FAILED:
		return plan_after_failure(refresher, runner, update);
	case UPDATE_CANCELED:
		break;
	}
	return RETRY_NEVER;
}

/* The pool's run(). */
static void run(void *arg, struct thread_pool_job *job)
{
	struct refresher *refresher = arg;
	struct runner *runner = container_of(job, struct runner, job);
	size_t index = index_of(refresher, runner);
	_cleanup_(origin_place_leave) struct origin_place place = origin_place_of(refresher->places,
										  runner->origin);
	struct update update;

	if (cancel_requested(refresher->env.cancel))
		return;
	bool is_forced = update_plan_begin(&refresher->plan, index);
	update_run(&update, runner->memory, &refresher->terms[index], is_forced, &refresher->env,
		   &place);
	int64_t next_in_ms = plan_next(refresher, runner, &update);
	int64_t next_at_ms = next_in_ms < 0 ? TERM_NO_TIME : clock_boot_ms() + next_in_ms;
	update_conclude(&update, next_in_ms, next_at_ms);
	if (runner->is_watched)
		watch_recheck(refresher->watch, index);
	update_plan_end(&refresher->plan, index, update.outcome, next_at_ms);
}

uint64_t refresher_request(struct refresher *refresher, size_t term)
{
	return update_plan_request(&refresher->plan, term, false);
}

uint64_t refresher_force(struct refresher *refresher, size_t term)
{
	return update_plan_request(&refresher->plan, term, true);
}

bool refresher_wait(struct refresher *refresher, size_t term, uint64_t ticket, int64_t deadline_ms,
		    enum update_outcome *ret)
{
	return update_plan_wait(&refresher->plan, term, ticket, deadline_ms, ret);
}

size_t refresher_wait_first(struct refresher *refresher, int64_t deadline_ms)
{
	return update_plan_wait_first(&refresher->plan, deadline_ms);
}

size_t refresher_threads(struct refresher *refresher)
{
	return thread_pool_threads(refresher->pool);
}

/* ---- files that are watched ---- */

static void path_changed(void *arg, size_t term)
{
	refresher_request(arg, term);
}

static int watch_sources(struct refresher *refresher, size_t index, struct err *err)
{
	const struct term_config *config = refresher->terms[index].config;

	for (size_t i = 0; i < config->n_sources; i++) {
		const struct source *source = &config->sources[i];
		const struct fetcher_ops *ops = fetcher_of(source);
		const char *path = ops->watched_path ? ops->watched_path(source->state) : NULL;

		if (!path)
			continue;
		if (watch_add(refresher->watch, path, index, err) < 0)
			return -1;
		refresher->runners[index].is_watched = true;
	}
	return 0;
}

static int start_watch(struct refresher *refresher, struct err *err)
{
	bool is_needed = false;

	if (watch_new(&refresher->watch, refresher->n_terms, refresher->env.helper,
		      refresher->env.cancel, path_changed, refresher, err) < 0)
		return -1;
	for (size_t i = 0; i < refresher->n_terms; i++) {
		if (watch_sources(refresher, i, err) < 0)
			return -1;
		is_needed |= refresher->runners[i].is_watched;
	}
	return is_needed ? watch_start(refresher->watch, err) : 0;
}

/* Watching is an accelerator: without it, terms are updated at their interval. */
static void try_to_watch(struct refresher *refresher)
{
	struct err err = ERR_INIT;

	if (start_watch(refresher, &err) == 0)
		return;
	log_event(LOG_LEVEL_WARNING, "not_watching", LOG_STR("error", err.msg));
	for (size_t i = 0; i < refresher->n_terms; i++)
		refresher->runners[i].is_watched = false;
}

/* ---- life ---- */

/* Differs from one machine to the next. */
static void read_machine_id(char ret[MACHINE_ID_SIZE])
{
	_cleanup_fclose_ FILE *file = fopen("/etc/machine-id", "re");

	if (file && fgets(ret, MACHINE_ID_SIZE, file) && ret[0] != '\n')
		return;
	if (gethostname(ret, MACHINE_ID_SIZE) < 0)
		ret[0] = '\0';
	ret[MACHINE_ID_SIZE - 1] = '\0';
}

static int add_origins(struct refresher *refresher, struct runner *runner,
		       const struct term_config *config, struct err *err)
{
	for (size_t i = 0; i < config->n_sources; i++) {
		const struct source *source = &config->sources[i];
		const struct fetcher_ops *ops = fetcher_of(source);
		const char *name = ops->origin ? ops->origin(source->state) : NULL;
		struct origin *origin = NULL;

		if (!name && i > 0)
			continue;
		if (origin_places_add(refresher->places, name ? name : ORIGIN_LOCAL, &origin, err) <
		    0)
			return -1;
		if (i == 0)
			runner->origin = origin;
	}
	return 0;
}

static int add_terms(struct refresher *refresher, const struct refresher_setup *setup,
		     struct err *err)
{
	char machine[MACHINE_ID_SIZE];

	read_machine_id(machine);
	for (size_t i = 0; i < setup->n_terms; i++) {
		const struct term_config *config = setup->terms[i].config;
		struct runner *runner = &refresher->runners[i];

		runner->share = retry_share(machine, config->name);
		if (term_memory_new(&runner->memory, config, setup->tokens[i],
				    setup->fingerprints[i], err) < 0 ||
		    add_origins(refresher, runner, config, err) < 0)
			return -1;
	}
	return 0;
}

/* Skips a refused token of a term that is not configured: it stays in the store. */
static int add_refused(void *arg, const struct store_refusal *refusal, struct err *err)
{
	struct refresher *refresher = arg;
	struct term *term = term_find(refresher->terms, refresher->n_terms, refusal->term);

	(void)err;
	if (term)
		term_memory_refuse(refresher->runners[term - refresher->terms].memory, refusal);
	return 0;
}

static int set_up(struct refresher *refresher, const struct refresher_setup *setup, struct err *err)
{
	if (update_plan_init(&refresher->plan, setup->terms, setup->n_terms, err) < 0)
		return -1;
	refresher->runners = calloc(setup->n_terms ? setup->n_terms : 1, sizeof(struct runner));
	if (!refresher->runners)
		return err_set(err, ERR_INTERNAL, "refresher: out of memory");
	if (origin_places_new(&refresher->places, inherited, refresher, err) < 0)
		return -1;
	refresher->env.places = refresher->places;
	if (add_terms(refresher, setup, err) < 0)
		return -1;
	/* Before the start, because readers of the metrics count its threads. */
	if (thread_pool_new(&refresher->pool, REFRESHER_THREADS_MAX, run, refresher, err) < 0)
		return -1;
	return store_list_refused(setup->env.store, add_refused, refresher, err);
}

int refresher_new(struct refresher **ret, const struct refresher_setup *setup, struct err *err)
{
	struct refresher *refresher = calloc(1, sizeof(*refresher));

	if (!refresher)
		return err_set(err, ERR_INTERNAL, "refresher: out of memory");
	refresher->terms = setup->terms;
	refresher->n_terms = setup->n_terms;
	refresher->env = setup->env;
	refresher->publish = setup->env.publish;
	refresher->publish_arg = setup->env.publish_arg;
	refresher->env.publish = publish;
	refresher->env.publish_arg = refresher;
	if (set_up(refresher, setup, err) < 0) {
		refresher_free(refresher);
		return -1;
	}
	*ret = refresher;
	return 0;
}

static void plan_first_updates(struct refresher *refresher)
{
	for (size_t i = 0; i < refresher->n_terms; i++) {
		const struct runner *runner = &refresher->runners[i];
		struct term *term = &refresher->terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);
		bool needs_bytes = !current || runner->memory->is_stranger;

		if (!needs_bytes)
			term_restore(term, store_noted_check(refresher->env.store, current));
		update_plan_first(&refresher->plan, i,
				  retry_first(term->config, needs_bytes, runner->share),
				  needs_bytes && !term->config->lazy_init);
	}
}

int refresher_start(struct refresher *refresher, struct err *err)
{
	const struct expiry_setup expiry = {
		.terms = refresher->terms,
		.n_terms = refresher->n_terms,
		.cancel = refresher->env.cancel,
		.publish = refresher->publish,
		.publish_arg = refresher->publish_arg,
	};

	if (expiry_new(&refresher->expiry, &expiry, err) < 0)
		return -1;
	network_wake_init(&refresher->wake, &refresher->plan);
	plan_first_updates(refresher);
	try_to_watch(refresher);
	errno = pthread_create(&refresher->scheduler, NULL, scheduler_main, refresher);
	if (errno)
		return err_errno(err, "starting the scheduler");
	refresher->is_started = true;
	return 0;
}

void refresher_stop(struct refresher *refresher)
{
	if (refresher->is_started)
		pthread_join(refresher->scheduler, NULL);
	refresher->is_started = false;
	if (refresher->pool)
		thread_pool_stop(refresher->pool);
	watch_free(steal_ptr(&refresher->watch));
	expiry_free(steal_ptr(&refresher->expiry));
	network_wake_release(&refresher->wake);
}

void refresher_free(struct refresher *refresher)
{
	if (!refresher)
		return;
	refresher_stop(refresher);
	for (size_t i = 0; refresher->runners && i < refresher->n_terms; i++)
		term_memory_free(refresher->runners[i].memory);
	origin_places_free(refresher->places);
	thread_pool_free(refresher->pool);
	update_plan_release(&refresher->plan);
	free(refresher->runners);
	free(refresher);
}
