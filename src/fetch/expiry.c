#include "fetch/expiry.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "fetch/due_heap.h"

struct candidate {
	struct term *term; /* borrowed */
	struct due_item due;
};

struct expiry {
	struct expiry_setup setup;
	struct candidate *candidates; /* owned; the thread's, as the heap */
	size_t n_candidates;
	struct due_heap due;
	int timer; /* owned; a timerfd, set to when the first one is due */
	pthread_t thread;
	bool is_started;

	pthread_mutex_t lock;
	pthread_cond_t hidden;	   /* `hiding` was changed to NULL */
	const struct term *hiding; /* guarded by lock; the one that is being hidden, or NULL */
};

DEFINE_CLEANUP(struct expiry, expiry_free)

static void set_hiding(struct expiry *expiry, const struct term *term)
{
	pthread_mutex_lock(&expiry->lock);
	expiry->hiding = term;
	pthread_cond_broadcast(&expiry->hidden);
	pthread_mutex_unlock(&expiry->lock);
}

void expiry_yield(struct expiry *expiry, const struct term *term)
{
	if (!expiry)
		return;
	pthread_mutex_lock(&expiry->lock);
	while (expiry->hiding == term)
		pthread_cond_wait(&expiry->hidden, &expiry->lock);
	pthread_mutex_unlock(&expiry->lock);
}

static void report(struct term *term)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);
	_cleanup_(term_status_release) struct term_status status = { 0 };
	char age[CLOCK_HUMAN_SIZE], max[CLOCK_HUMAN_SIZE];

	term_status(term, &status);
	int64_t age_ms = clock_wall_at(clock_boot_ms()) - status.confirmed_at_ms;
	log_event(LOG_LEVEL_WARNING, "expired", LOG_STR("term", term->config->name),
		  LOG_STR("confirmed_ago", clock_human(age_ms, age)),
		  LOG_STR("max_stale", clock_human(term->config->max_stale_ms, max)),
		  LOG_STR("serving", current ? current->version : "nothing"),
		  LOG_STR("kind", status.last_error ? err_kind_name(status.error_kind) : NULL),
		  LOG_STR("error", status.last_error));
}

static void expire(struct expiry *expiry, struct term *term)
{
	struct err err = ERR_INIT;

	/* First, so that an update that publishes after the decision waits for it. */
	set_hiding(expiry, term);
	bool has_expired = term_expire(term);
	if (has_expired && term->config->on_expire == ON_EXPIRE_HIDE &&
	    expiry->setup.publish(expiry->setup.publish_arg, term, NULL, &err) < 0)
		log_event(LOG_LEVEL_WARNING, "not_hidden", LOG_STR("term", term->config->name),
			  LOG_STR("kind", err_kind_name(err.kind)), LOG_STR("error", err.msg));
	set_hiding(expiry, NULL);
	if (has_expired)
		report(term);
}

static void look_at_due(struct expiry *expiry)
{
	struct due_item *first;

	while ((first = due_heap_first(&expiry->due)) && first->at_ms <= clock_boot_ms() &&
	       !cancel_requested(expiry->setup.cancel)) {
		struct candidate *candidate = container_of(first, struct candidate, due);
		struct term *term = candidate->term;

		if (term_expires_at(term) <= clock_boot_ms())
			expire(expiry, term);
		/* A term that is confirmed from now on is not due earlier. */
		int64_t latest_ms = clock_boot_ms() + term->config->max_stale_ms;
		int64_t at_ms = term_expires_at(term);
		due_heap_put(&expiry->due, first, at_ms < latest_ms ? at_ms : latest_ms);
	}
}

static void arm(struct expiry *expiry)
{
	int64_t at_ms = due_heap_first(&expiry->due)->at_ms;
	struct itimerspec when = { .it_value = { .tv_nsec = 1 } };

	/* A term that was due before the machine booted is due at once. */
	if (at_ms > 0) {
		when.it_value.tv_sec = at_ms / MS_PER_S;
		when.it_value.tv_nsec = at_ms % MS_PER_S * 1000000 + 1;
	}
	timerfd_settime(expiry->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void *expiry_main(void *arg)
{
	struct expiry *expiry = arg;
	struct cancel *cancel = expiry->setup.cancel;
	struct pollfd fds[] = {
		{ .fd = cancel->fd, .events = POLLIN },
		{ .fd = expiry->timer, .events = POLLIN },
	};
	uint64_t expirations;

	pthread_setname_np(pthread_self(), "expiry");
	arm(expiry);
	while (!cancel_requested(cancel)) {
		poll(fds, ARRAY_SIZE(fds), -1);
		if (read(expiry->timer, &expirations, sizeof(expirations)) > 0) {
			look_at_due(expiry);
			arm(expiry);
		}
	}
	return NULL;
}

static int add_candidates(struct expiry *expiry, struct err *err)
{
	const struct expiry_setup *setup = &expiry->setup;
	size_t n = 0;

	for (size_t i = 0; i < setup->n_terms; i++)
		n += setup->terms[i].config->max_stale_ms != 0;
	if (n == 0)
		return 0;
	expiry->candidates = calloc(n, sizeof(*expiry->candidates));
	if (!expiry->candidates)
		return err_set(err, ERR_INTERNAL, "expiry: out of memory");
	if (due_heap_init(&expiry->due, n, err) < 0)
		return -1;
	for (size_t i = 0; i < setup->n_terms; i++) {
		if (!setup->terms[i].config->max_stale_ms)
			continue;
		struct candidate *candidate = &expiry->candidates[expiry->n_candidates++];
		*candidate = (struct candidate){ &setup->terms[i], { .place = DUE_NOWHERE } };
		due_heap_put(&expiry->due, &candidate->due, clock_boot_ms());
	}
	return 0;
}

int expiry_new(struct expiry **ret, const struct expiry_setup *setup, struct err *err)
{
	_cleanup_(expiry_free_cleanup) struct expiry *expiry = calloc(1, sizeof(*expiry));

	if (!expiry)
		return err_set(err, ERR_INTERNAL, "expiry: out of memory");
	expiry->setup = *setup;
	pthread_mutex_init(&expiry->lock, NULL);
	pthread_cond_init(&expiry->hidden, NULL);
	expiry->timer = -1;
	if (add_candidates(expiry, err) < 0)
		return -1;
	if (expiry->n_candidates == 0) {
		*ret = NULL;
		return 0;
	}
	expiry->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (expiry->timer < 0)
		return err_errno(err, "expiry: timerfd_create");
	errno = pthread_create(&expiry->thread, NULL, expiry_main, expiry);
	if (errno)
		return err_errno(err, "expiry: thread");
	expiry->is_started = true;
	*ret = steal_ptr(&expiry);
	return 0;
}

void expiry_free(struct expiry *expiry)
{
	if (!expiry)
		return;
	if (expiry->is_started)
		pthread_join(expiry->thread, NULL);
	due_heap_release(&expiry->due);
	free(expiry->candidates);
	close_cleanup(&expiry->timer);
	pthread_cond_destroy(&expiry->hidden);
	pthread_mutex_destroy(&expiry->lock);
	free(expiry);
}
