#include "fetch/update_plan.h"

#include <sys/random.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/util.h"

#define WAIT_MAX_MS 3600000

/* Load alone never makes the scheduler this late. */
#define OVERDUE_MS	  10000
#define OVERDUE_SPREAD_MS 5000

enum phase { PHASE_IDLE, PHASE_WAITING, PHASE_RUNNING };

int update_plan_init(struct update_plan *plan, struct term *terms, size_t n_terms, struct err *err)
{
	*plan = (struct update_plan){ .terms = terms, .n_terms = n_terms, .armed_ms = INT64_MAX };
	pthread_mutex_init(&plan->lock, NULL);
	pthread_cond_init(&plan->progress, NULL);
	plan->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (plan->timer < 0)
		return err_errno(err, "planning updates: timerfd_create");
	if (getrandom(&plan->random, sizeof(plan->random), GRND_NONBLOCK) < 0)
		plan->random = (uint64_t)clock_wall_ns();
	plan->planned = calloc(n_terms ? n_terms : 1, sizeof(*plan->planned));
	if (!plan->planned)
		return err_set(err, ERR_INTERNAL, "planning %zu updates: out of memory", n_terms);
	for (size_t i = 0; i < n_terms; i++)
		plan->planned[i].due.place = DUE_NOWHERE;
	return due_heap_init(&plan->due, n_terms, err);
}

void update_plan_release(struct update_plan *plan)
{
	due_heap_release(&plan->due);
	free(plan->planned);
	close_cleanup(&plan->timer);
	pthread_cond_destroy(&plan->progress);
	pthread_mutex_destroy(&plan->lock);
}

static size_t index_of(const struct update_plan *plan, const struct due_item *due)
{
	return (size_t)(container_of(due, const struct planned, due) - plan->planned);
}

/* SplitMix64, good enough for jitter. With the lock held. */
static uint64_t next_random(struct update_plan *plan)
{
	uint64_t z = plan->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* With the lock held, after the heap has changed. */
static void arm(struct update_plan *plan)
{
	const struct due_item *first = due_heap_first(&plan->due);
	int64_t at_ms = first ? first->at_ms : INT64_MAX;
	struct itimerspec when = { .it_value = { 0, 0 } };

	if (at_ms == plan->armed_ms)
		return;
	plan->armed_ms = at_ms;
	if (first) {
		when.it_value.tv_sec = at_ms / MS_PER_S;
		when.it_value.tv_nsec = at_ms % MS_PER_S * 1000000 + 1;
	}
	timerfd_settime(plan->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

void update_plan_first(struct update_plan *plan, size_t index, int64_t delay_ms, bool is_awaited)
{
	struct planned *planned = &plan->planned[index];
	int64_t at_ms = delay_ms < 0 ? TERM_NO_TIME : clock_boot_ms() + delay_ms;

	pthread_mutex_lock(&plan->lock);
	bool is_requested = planned->due.place != DUE_NOWHERE;
	planned->is_awaited = is_awaited;
	plan->n_awaited += is_awaited;
	if (delay_ms >= 0 && !is_requested)
		due_heap_put(&plan->due, &planned->due, at_ms);
	arm(plan);
	pthread_mutex_unlock(&plan->lock);
	if (!is_requested)
		term_set_next_check(&plan->terms[index], at_ms);
}

bool update_plan_take_due(struct update_plan *plan, size_t *ret_index)
{
	pthread_mutex_lock(&plan->lock);
	struct due_item *first = due_heap_first(&plan->due);
	bool is_due = first && first->at_ms <= clock_boot_ms();
	if (is_due) {
		due_heap_remove(&plan->due, first);
		*ret_index = index_of(plan, first);
		plan->planned[*ret_index].phase = PHASE_WAITING;
	} else {
		/* The timer has fired, and may have fired too early. */
		plan->armed_ms = INT64_MAX;
		arm(plan);
	}
	pthread_mutex_unlock(&plan->lock);
	return is_due;
}

bool update_plan_begin(struct update_plan *plan, size_t index)
{
	struct planned *planned = &plan->planned[index];

	pthread_mutex_lock(&plan->lock);
	bool is_forced = planned->is_forced;
	planned->is_forced = false;
	planned->phase = PHASE_RUNNING;
	planned->begun++;
	pthread_mutex_unlock(&plan->lock);
	return is_forced;
}

void update_plan_succeeded(struct update_plan *plan, size_t index)
{
	pthread_mutex_lock(&plan->lock);
	plan->planned[index].failures = 0;
	plan->planned[index].is_unreachable = false;
	pthread_mutex_unlock(&plan->lock);
}

unsigned update_plan_failed(struct update_plan *plan, size_t index, bool is_unreachable,
			    uint64_t *ret_random)
{
	pthread_mutex_lock(&plan->lock);
	unsigned failures = ++plan->planned[index].failures;
	plan->planned[index].is_unreachable = is_unreachable;
	*ret_random = next_random(plan);
	pthread_mutex_unlock(&plan->lock);
	return failures;
}

void update_plan_end(struct update_plan *plan, size_t index, enum update_outcome outcome,
		     int64_t next_at_ms)
{
	struct planned *planned = &plan->planned[index];

	pthread_mutex_lock(&plan->lock);
	bool is_asked_again = planned->is_asked_again;
	pthread_mutex_unlock(&plan->lock);
	if (is_asked_again)
		term_set_next_check(&plan->terms[index], clock_boot_ms());

	pthread_mutex_lock(&plan->lock);
	planned->phase = PHASE_IDLE;
	planned->outcome = (uint8_t)outcome;
	if (planned->is_awaited && outcome != UPDATE_CANCELED) {
		planned->is_awaited = false;
		plan->n_awaited--;
	}
	if (planned->is_asked_again)
		due_heap_put(&plan->due, &planned->due, clock_boot_ms());
	else if (next_at_ms != TERM_NO_TIME)
		due_heap_put(&plan->due, &planned->due, next_at_ms);
	planned->is_asked_again = false;
	arm(plan);
	pthread_cond_broadcast(&plan->progress);
	pthread_mutex_unlock(&plan->lock);
}

uint64_t update_plan_request(struct update_plan *plan, size_t index, bool is_forced)
{
	struct planned *planned = &plan->planned[index];

	/* Set before the update can begin, because the update plans the next one. */
	term_set_next_check(&plan->terms[index], clock_boot_ms());
	pthread_mutex_lock(&plan->lock);
	uint64_t ticket = planned->begun + 1;
	planned->is_forced |= is_forced;
	switch ((enum phase)planned->phase) {
	case PHASE_IDLE:
		due_heap_put(&plan->due, &planned->due, clock_boot_ms());
		arm(plan);
		break;
	case PHASE_WAITING:
		break;
	case PHASE_RUNNING:
		planned->is_asked_again = true;
		break;
	}
	pthread_mutex_unlock(&plan->lock);
	return ticket;
}

/* With the lock held: waits for progress. False: the deadline has passed. */
static bool wait_for_progress(struct update_plan *plan, int64_t deadline_ms)
{
	int64_t left_ms = deadline_ms - clock_boot_ms();

	if (left_ms <= 0)
		return false;
	if (left_ms > WAIT_MAX_MS)
		left_ms = WAIT_MAX_MS;
	struct timespec until = clock_after(left_ms);
	pthread_cond_clockwait(&plan->progress, &plan->lock, CLOCK_MONOTONIC, &until);
	return true;
}

/* With the lock held. */
static bool has_ended(const struct planned *planned, uint64_t ticket)
{
	return planned->begun - (planned->phase == PHASE_RUNNING) >= ticket;
}

bool update_plan_wait(struct update_plan *plan, size_t index, uint64_t ticket, int64_t deadline_ms,
		      enum update_outcome *ret)
{
	const struct planned *planned = &plan->planned[index];
	enum update_outcome outcome = UPDATE_CANCELED;

	pthread_mutex_lock(&plan->lock);
	while (!has_ended(planned, ticket) && !plan->is_stopping &&
	       wait_for_progress(plan, deadline_ms))
		continue;
	bool is_over = has_ended(planned, ticket);
	if (is_over)
		outcome = (enum update_outcome)planned->outcome;
	else
		is_over = plan->is_stopping;
	pthread_mutex_unlock(&plan->lock);
	if (is_over)
		*ret = outcome;
	return is_over;
}

size_t update_plan_wait_first(struct update_plan *plan, int64_t deadline_ms)
{
	pthread_mutex_lock(&plan->lock);
	while (plan->n_awaited > 0 && !plan->is_stopping && wait_for_progress(plan, deadline_ms))
		continue;
	size_t n = plan->n_awaited;
	pthread_mutex_unlock(&plan->lock);
	return n;
}

void update_plan_stop(struct update_plan *plan)
{
	pthread_mutex_lock(&plan->lock);
	plan->is_stopping = true;
	pthread_cond_broadcast(&plan->progress);
	pthread_mutex_unlock(&plan->lock);
}

/* A moment within the window, or within the interval if that is shorter. With the lock held. */
static int64_t soon(struct update_plan *plan, size_t index, int64_t window_ms)
{
	int64_t interval_ms = plan->terms[index].config->refresh_interval_ms;

	if (interval_ms != CONFIG_NEVER && interval_ms < window_ms)
		window_ms = interval_ms;
	return clock_boot_ms() + (int64_t)(next_random(plan) % (uint64_t)window_ms) + 1;
}

/* Returns the new time, or TERM_NO_TIME if the plan stays as it is. */
static int64_t retry_soon(struct update_plan *plan, size_t index, int64_t window_ms)
{
	struct planned *planned = &plan->planned[index];
	int64_t at_ms = TERM_NO_TIME;

	pthread_mutex_lock(&plan->lock);
	/* An update that is under way may still fail because of the outage. */
	if (planned->is_unreachable || planned->phase != PHASE_IDLE)
		planned->failures = 0;
	if (planned->is_unreachable && planned->phase == PHASE_IDLE) {
		at_ms = soon(plan, index, window_ms);
		if (planned->due.place != DUE_NOWHERE && planned->due.at_ms <= at_ms)
			at_ms = TERM_NO_TIME;
		else
			due_heap_put(&plan->due, &planned->due, at_ms);
		arm(plan);
	}
	pthread_mutex_unlock(&plan->lock);
	return at_ms;
}

size_t update_plan_retry_unreachable(struct update_plan *plan, int64_t window_ms)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->n_terms; i++) {
		int64_t at_ms = retry_soon(plan, i, window_ms);

		if (at_ms == TERM_NO_TIME)
			continue;
		term_set_next_check(&plan->terms[i], at_ms);
		n++;
	}
	return n;
}

/* Postpones the first update that was due by then. */
static bool put_off(struct update_plan *plan, int64_t by_ms)
{
	size_t index = 0;
	int64_t at_ms = 0;

	pthread_mutex_lock(&plan->lock);
	struct due_item *first = due_heap_first(&plan->due);
	bool is_put_off = first && first->at_ms <= by_ms;
	if (is_put_off) {
		index = index_of(plan, first);
		at_ms = soon(plan, index, OVERDUE_SPREAD_MS);
		due_heap_put(&plan->due, first, at_ms);
	}
	pthread_mutex_unlock(&plan->lock);
	if (is_put_off)
		term_set_next_check(&plan->terms[index], at_ms);
	return is_put_off;
}

void update_plan_spread_overdue(struct update_plan *plan)
{
	int64_t now_ms = clock_boot_ms();

	pthread_mutex_lock(&plan->lock);
	const struct due_item *first = due_heap_first(&plan->due);
	bool is_overdue = first && now_ms - first->at_ms >= OVERDUE_MS;
	pthread_mutex_unlock(&plan->lock);
	while (is_overdue && put_off(plan, now_ms))
		continue;
}
