#include "fetch/refresher_internal.h"

#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "fetch/retry.h"

#define MACHINE_ID_SIZE 64
#define WAIT_MAX_MS	3600000

DEFINE_CLEANUP(struct refresher, refresher_free)

/* SplitMix64: plenty for jitter. */
uint64_t refresher_random(struct refresher *refresher)
{
	uint64_t z = refresher->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void refresher_arm(struct refresher *refresher)
{
	const struct due_item *first = due_heap_first(&refresher->due);
	int64_t at_ms = first ? first->at_ms : INT64_MAX;
	struct itimerspec when = { .it_value = { 0, 0 } };

	if (at_ms == refresher->armed_ms)
		return;
	refresher->armed_ms = at_ms;
	if (first) {
		when.it_value.tv_sec = at_ms / MS_PER_S;
		when.it_value.tv_nsec = at_ms % MS_PER_S * 1000000 + 1;
	}
	timerfd_settime(refresher->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static struct term *term_of(struct refresher *refresher, const struct entry *entry)
{
	return &refresher->terms[entry - refresher->entries];
}

/* update_env's origin_enter() and origin_leave(). */
static bool enter(void *arg, const char *name)
{
	struct refresher *refresher = arg;
	struct origin *origin = origins_find(refresher->origins, name);

	return !origin || origin_enter(refresher->origins, origin);
}

static void leave(void *arg, const char *name)
{
	struct refresher *refresher = arg;
	struct origin *origin = origins_find(refresher->origins, name);
	struct origin_waiter *next = origin ? origin_leave(refresher->origins, origin) : NULL;

	if (next)
		thread_pool_submit(refresher->pool, &container_of(next, struct entry, waiter)->job);
}

/* update_env's publish(). */
static void publish(void *arg, struct term *term, struct snapshot *snapshot)
{
	struct refresher *refresher = arg;

	expiry_yield(refresher->expiry, term);
	refresher->publish(refresher->publish_arg, term, snapshot);
}

/* The next term that is due, WAITING from now on, or NULL. */
static struct entry *take_due(struct refresher *refresher)
{
	struct entry *entry = NULL;

	pthread_mutex_lock(&refresher->lock);
	struct due_item *first = due_heap_first(&refresher->due);
	if (first && first->at_ms <= clock_boot_ms()) {
		entry = container_of(first, struct entry, due);
		due_heap_remove(&refresher->due, first);
		entry->phase = PHASE_WAITING;
	} else {
		refresher->armed_ms = INT64_MAX;
		refresher_arm(refresher);
	}
	pthread_mutex_unlock(&refresher->lock);
	return entry;
}

static void submit_due(struct refresher *refresher)
{
	struct entry *entry;

	refresher_spread_overdue(refresher);
	while ((entry = take_due(refresher))) {
		if (!entry->origin ||
		    origin_enter_or_wait(refresher->origins, entry->origin, &entry->waiter))
			thread_pool_submit(refresher->pool, &entry->job);
	}
}

static void *scheduler_main(void *arg)
{
	struct refresher *refresher = arg;
	struct cancel *cancel = refresher->env.cancel;
	struct pollfd fds[] = {
		{ .fd = cancel->fd, .events = POLLIN },
		{ .fd = refresher->timer, .events = POLLIN },
		{ .fd = network_fd(refresher->network), .events = POLLIN },
	};
	uint64_t expirations;

	pthread_setname_np(pthread_self(), "scheduler");
	while (!cancel_requested(cancel)) {
		if (poll(fds, ARRAY_SIZE(fds), refresher_network_timeout_ms(refresher)) < 0)
			continue;
		if (fds[2].revents)
			refresher_hear_network(refresher);
		refresher_heed_network(refresher);
		if (read(refresher->timer, &expirations, sizeof(expirations)) > 0)
			submit_due(refresher);
	}
	pthread_mutex_lock(&refresher->lock);
	refresher->is_stopping = true;
	pthread_cond_broadcast(&refresher->progress);
	pthread_mutex_unlock(&refresher->lock);
	return NULL;
}

/* An attempt that runs, for the plan that it makes. */
struct running {
	struct refresher *refresher;
	struct entry *entry;
	int64_t next_ms; /* clock_boot_ms(); RETRY_NEVER */
};

static int64_t time_after(int64_t delay_ms)
{
	return delay_ms < 0 ? TERM_NO_TIME : clock_boot_ms() + delay_ms;
}

/* What the source wants, but a term that can expire is asked in good time. */
static int64_t heed_freshness(const struct term_config *config, int64_t fresh_for_ms)
{
	int64_t max_ms = config->max_stale_ms / 2;

	return max_ms && fresh_for_ms > max_ms ? max_ms : fresh_for_ms;
}

/* Takes note of a failure: returns how many in a row back-off counts, and random bits. */
static unsigned count_failure(struct running *running, bool is_unreachable, uint64_t *ret_random)
{
	struct refresher *refresher = running->refresher;

	pthread_mutex_lock(&refresher->lock);
	unsigned failures = ++running->entry->failures;
	running->entry->is_unreachable = is_unreachable;
	*ret_random = refresher_random(refresher);
	pthread_mutex_unlock(&refresher->lock);
	return failures;
}

static void count_success(struct running *running)
{
	pthread_mutex_lock(&running->refresher->lock);
	running->entry->failures = 0;
	running->entry->is_unreachable = false;
	pthread_mutex_unlock(&running->refresher->lock);
}

/* update_run()'s next_in_ms(). */
static int64_t plan(void *arg, enum update_outcome outcome, enum err_kind kind,
		    const struct update_advice *advice)
{
	struct running *running = arg;
	struct entry *entry = running->entry;
	struct term *term = term_of(running->refresher, entry);
	int64_t interval_ms = term->config->refresh_interval_ms;
	int64_t delay_ms = RETRY_NEVER;
	uint64_t random;
	unsigned failures;

	switch (outcome) {
	case UPDATE_UPDATED:
	case UPDATE_UNCHANGED:
		count_success(running);
		delay_ms = retry_after_success(interval_ms,
					       heed_freshness(term->config, advice->fresh_for_ms),
					       entry->share);
		/* A fallback answered, but the first source wants to be left alone. */
		if (delay_ms >= 0 && delay_ms < advice->retry_after_ms)
			delay_ms = advice->retry_after_ms;
		break;
	case UPDATE_FAILED:
		failures = count_failure(
			running, kind == ERR_UNREACHABLE && advice->retry_after_ms < 0, &random);
		delay_ms = retry_after_failure(kind, interval_ms, failures, advice->retry_after_ms,
					       entry->share, random);
		if (advice->confirm_in_ms >= 0)
			delay_ms = advice->confirm_in_ms;
		break;
	case UPDATE_CANCELED:
		return RETRY_NEVER;
	}
	running->next_ms = time_after(delay_ms);
	term_set_next_check(term, running->next_ms);
	return delay_ms;
}

static void finish(struct running *running, enum update_outcome outcome)
{
	struct refresher *refresher = running->refresher;
	struct entry *entry = running->entry;

	pthread_mutex_lock(&refresher->lock);
	bool again = entry->is_asked_again;
	pthread_mutex_unlock(&refresher->lock);
	if (again)
		term_set_next_check(term_of(refresher, entry), clock_boot_ms());

	pthread_mutex_lock(&refresher->lock);
	entry->phase = PHASE_IDLE;
	entry->outcome = outcome;
	entry->ended++;
	if (entry->is_awaited && outcome != UPDATE_CANCELED) {
		entry->is_awaited = false;
		refresher->n_awaited--;
	}
	if (entry->is_asked_again)
		due_heap_put(&refresher->due, &entry->due, clock_boot_ms());
	else if (running->next_ms >= 0)
		due_heap_put(&refresher->due, &entry->due, running->next_ms);
	entry->is_asked_again = false;
	refresher_arm(refresher);
	pthread_cond_broadcast(&refresher->progress);
	pthread_mutex_unlock(&refresher->lock);
}

/* The pool's run(). */
static void run(void *arg, struct thread_pool_job *job)
{
	struct refresher *refresher = arg;
	struct entry *entry = container_of(job, struct entry, job);
	struct running running = { refresher, entry, RETRY_NEVER };
	struct err err = ERR_INIT;

	if (cancel_requested(refresher->env.cancel))
		return;
	pthread_mutex_lock(&refresher->lock);
	entry->phase = PHASE_RUNNING;
	entry->begun++;
	pthread_mutex_unlock(&refresher->lock);

	enum update_outcome outcome = update_run(entry->state, term_of(refresher, entry),
						 &refresher->env, plan, &running, &err);
	if (entry->is_watched)
		watch_recheck(refresher->watch, (size_t)(entry - refresher->entries));
	finish(&running, outcome);
}

uint64_t refresher_request(struct refresher *refresher, size_t index)
{
	struct entry *entry = &refresher->entries[index];

	/* Before the attempt can begin, which says something better. */
	term_set_next_check(&refresher->terms[index], clock_boot_ms());
	pthread_mutex_lock(&refresher->lock);
	uint64_t ticket = entry->begun + 1;
	switch (entry->phase) {
	case PHASE_IDLE:
		due_heap_put(&refresher->due, &entry->due, clock_boot_ms());
		refresher_arm(refresher);
		break;
	case PHASE_WAITING:
		break;
	case PHASE_RUNNING:
		entry->is_asked_again = true;
		break;
	}
	pthread_mutex_unlock(&refresher->lock);
	return ticket;
}

/* With the lock held: waits for progress, or until the deadline; false if that is over. */
static bool wait_for_progress(struct refresher *refresher, int64_t deadline_ms)
{
	int64_t left_ms = deadline_ms - clock_boot_ms();

	if (left_ms <= 0)
		return false;
	if (left_ms > WAIT_MAX_MS)
		left_ms = WAIT_MAX_MS;
	struct timespec until = clock_after(left_ms);
	pthread_cond_clockwait(&refresher->progress, &refresher->lock, CLOCK_MONOTONIC, &until);
	return true;
}

bool refresher_wait(struct refresher *refresher, size_t index, uint64_t ticket, int64_t deadline_ms,
		    enum update_outcome *ret)
{
	const struct entry *entry = &refresher->entries[index];
	enum update_outcome outcome = UPDATE_CANCELED;

	pthread_mutex_lock(&refresher->lock);
	while (entry->ended < ticket && !refresher->is_stopping &&
	       wait_for_progress(refresher, deadline_ms))
		continue;
	bool is_over = entry->ended >= ticket;
	if (is_over)
		outcome = entry->outcome;
	else
		is_over = refresher->is_stopping;
	pthread_mutex_unlock(&refresher->lock);
	if (is_over)
		*ret = outcome;
	return is_over;
}

size_t refresher_wait_first(struct refresher *refresher, int64_t deadline_ms)
{
	pthread_mutex_lock(&refresher->lock);
	while (refresher->n_awaited > 0 && !refresher->is_stopping &&
	       wait_for_progress(refresher, deadline_ms))
		continue;
	size_t n = refresher->n_awaited;
	pthread_mutex_unlock(&refresher->lock);
	return n;
}

size_t refresher_threads(struct refresher *refresher)
{
	return refresher->pool ? thread_pool_threads(refresher->pool) : 0;
}

/* What tells this machine from others. */
static void read_machine_id(char ret[MACHINE_ID_SIZE])
{
	_cleanup_fclose_ FILE *file = fopen("/etc/machine-id", "re");

	if (file && fgets(ret, MACHINE_ID_SIZE, file) && ret[0] != '\n')
		return;
	if (gethostname(ret, MACHINE_ID_SIZE) < 0)
		ret[0] = '\0';
	ret[MACHINE_ID_SIZE - 1] = '\0';
}

static int add_origins(struct refresher *refresher, struct entry *entry,
		       const struct term_config *config, struct err *err)
{
	for (size_t i = 0; i < config->n_sources; i++) {
		const struct source *source = &config->sources[i];
		const struct fetcher_ops *ops = fetcher_of(source);
		const char *name = ops->origin ? ops->origin(source->state) : NULL;
		struct origin *origin = NULL;

		if (name && origins_add(refresher->origins, name, &origin, err) < 0)
			return -1;
		if (i == 0)
			entry->origin = origin;
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
		struct entry *entry = &refresher->entries[i];

		entry->due.place = DUE_NOWHERE;
		entry->share = retry_share(machine, config->name);
		if (update_state_new(&entry->state, config, setup->tokens[i],
				     setup->fingerprints[i], err) < 0 ||
		    add_origins(refresher, entry, config, err) < 0)
			return -1;
	}
	return 0;
}

/* A refused token of a term that is not configured stays in the store. */
static int add_refused(void *arg, const struct store_refusal *refusal, struct err *err)
{
	struct refresher *refresher = arg;
	size_t first = 0, end = refresher->n_terms;

	(void)err;
	while (first < end) {
		size_t middle = first + (end - first) / 2;
		int order = strcmp(refresher->terms[middle].config->name, refusal->term);

		if (order == 0) {
			update_state_refuse(refresher->entries[middle].state, refusal);
			break;
		}
		if (order < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return 0;
}

int refresher_new(struct refresher **ret, const struct refresher_setup *setup, struct err *err)
{
	_cleanup_(refresher_free_cleanup) struct refresher *refresher = calloc(1,
									       sizeof(*refresher));

	if (!refresher)
		return err_set(err, ERR_INTERNAL, "refresher: out of memory");
	pthread_mutex_init(&refresher->lock, NULL);
	pthread_cond_init(&refresher->progress, NULL);
	refresher->terms = setup->terms;
	refresher->n_terms = setup->n_terms;
	refresher->armed_ms = INT64_MAX;
	refresher->env = setup->env;
	refresher->publish = setup->env.publish;
	refresher->publish_arg = setup->env.publish_arg;
	refresher->env.publish = publish;
	refresher->env.publish_arg = refresher;
	refresher->env.origin_enter = enter;
	refresher->env.origin_leave = leave;
	refresher->env.origin_arg = refresher;
	refresher->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (refresher->timer < 0)
		return err_errno(err, "refresher: timerfd_create");
	if (getrandom(&refresher->random, sizeof(refresher->random), GRND_NONBLOCK) < 0)
		refresher->random = (uint64_t)clock_wall_ns();
	if (due_heap_init(&refresher->due, setup->n_terms, err) < 0)
		return -1;
	refresher->entries = calloc(setup->n_terms ? setup->n_terms : 1, sizeof(struct entry));
	if (!refresher->entries)
		return err_set(err, ERR_INTERNAL, "refresher: out of memory");
	if (origins_new(&refresher->origins, REFRESHER_THREADS_PER_ORIGIN, err) < 0)
		return -1;
	if (add_terms(refresher, setup, err) < 0 ||
	    store_list_refused(setup->env.store, add_refused, refresher, err) < 0)
		return -1;
	*ret = steal_ptr(&refresher);
	return 0;
}

static void plan_first_attempts(struct refresher *refresher)
{
	int64_t now_ms = clock_boot_ms();

	for (size_t i = 0; i < refresher->n_terms; i++) {
		struct entry *entry = &refresher->entries[i];
		struct term *term = &refresher->terms[i];
		struct snapshot *current = term_current(term);
		bool needs_bytes = !current || update_is_stranger(entry->state);
		int64_t delay_ms = retry_first(term->config, needs_bytes, entry->share);

		if (current)
			snapshot_unref(current);
		term_set_next_check(term, time_after(delay_ms));
		pthread_mutex_lock(&refresher->lock);
		if (needs_bytes && !term->config->lazy_init) {
			entry->is_awaited = true;
			refresher->n_awaited++;
		}
		if (delay_ms >= 0)
			due_heap_put(&refresher->due, &entry->due, now_ms + delay_ms);
		pthread_mutex_unlock(&refresher->lock);
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
	struct err watch_err = ERR_INIT;

	if (thread_pool_new(&refresher->pool, REFRESHER_THREADS_MAX, run, refresher, err) < 0 ||
	    expiry_new(&refresher->expiry, &expiry, err) < 0)
		return -1;
	refresher_start_network(refresher);
	plan_first_attempts(refresher);
	/* Watching is an accelerator; without it terms follow at their interval. */
	if (refresher_start_watch(refresher, &watch_err) < 0) {
		log_event(LOG_LEVEL_WARNING, "not_watching", LOG_STR("error", watch_err.msg));
		for (size_t i = 0; i < refresher->n_terms; i++)
			refresher->entries[i].is_watched = false;
	}
	int result = pthread_create(&refresher->scheduler, NULL, scheduler_main, refresher);
	if (result != 0) {
		errno = result;
		return err_errno(err, "starting the scheduler");
	}
	refresher->is_started = true;
	pthread_mutex_lock(&refresher->lock);
	refresher_arm(refresher);
	pthread_mutex_unlock(&refresher->lock);
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
	network_free(steal_ptr(&refresher->network));
}

void refresher_free(struct refresher *refresher)
{
	if (!refresher)
		return;
	refresher_stop(refresher);
	for (size_t i = 0; refresher->entries && i < refresher->n_terms; i++)
		update_state_free(refresher->entries[i].state);
	origins_free(refresher->origins);
	thread_pool_free(refresher->pool);
	due_heap_release(&refresher->due);
	free(refresher->entries);
	close_cleanup(&refresher->timer);
	pthread_cond_destroy(&refresher->progress);
	pthread_mutex_destroy(&refresher->lock);
	free(refresher);
}
