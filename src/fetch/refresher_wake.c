/*
 * refresher_wake: what has terms asked at another time than planned: a file that has changed, the
 * network that is back, the machine that has slept.
 */
#include <poll.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetch/refresher_internal.h"

/* A link, its address and its routes come one after the other. */
#define NETWORK_SETTLE_MS 300
#define NETWORK_SPREAD_MS 2000
/* A link that flaps must not become a storm: from one time to the next the gap doubles, until it
 * was quiet for the longest one. */
#define NETWORK_GAP_MIN_MS 5000
#define NETWORK_GAP_MAX_MS INT64_C(300000)

/* More than any load makes the scheduler late. */
#define OVERDUE_MS	  10000
#define OVERDUE_SPREAD_MS 5000

/* ------------------------------------------------------------------ files */

static void path_changed(void *arg, size_t index)
{
	refresher_request(arg, index);
}

static int add_paths(struct refresher *refresher, struct watch *watch, size_t index,
		     struct err *err)
{
	const struct term_config *config = refresher->terms[index].config;

	for (size_t i = 0; i < config->n_sources; i++) {
		const struct source *source = &config->sources[i];
		const struct fetcher_ops *ops = fetcher_of(source);
		const char *path = ops->watched_path ? ops->watched_path(source->state) : NULL;

		if (!path)
			continue;
		if (watch_add(watch, path, index, err) < 0)
			return -1;
		refresher->entries[index].is_watched = true;
	}
	return 0;
}

int refresher_start_watch(struct refresher *refresher, struct err *err)
{
	struct watch *watch = NULL;
	bool is_needed = false;

	if (watch_new(&watch, refresher->n_terms, refresher->env.helper, refresher->env.cancel,
		      path_changed, refresher, err) < 0)
		return -1;
	refresher->watch = watch;
	for (size_t i = 0; i < refresher->n_terms; i++) {
		if (add_paths(refresher, watch, i, err) < 0)
			return -1;
		is_needed |= refresher->entries[i].is_watched;
	}
	return is_needed ? watch_start(watch, err) : 0;
}

/* ------------------------------------------------------------------ the network */

void refresher_start_network(struct refresher *refresher)
{
	struct err err = ERR_INIT;

	refresher->wake = (struct wake_state){
		.network_at_ms = INT64_MAX,
		.network_last_ms = clock_boot_ms() - NETWORK_GAP_MAX_MS,
		.network_gap_ms = NETWORK_GAP_MIN_MS,
	};
	if (network_new(&refresher->network, &err) < 0)
		log_event(LOG_LEVEL_DEBUG, "network_not_heard_of", LOG_STR("error", err.msg));
}

void refresher_hear_network(struct refresher *refresher)
{
	struct wake_state *wake = &refresher->wake;
	int64_t now_ms = clock_boot_ms();

	if (!network_has_come(refresher->network) || wake->network_at_ms != INT64_MAX)
		return;
	if (now_ms - wake->network_last_ms >= NETWORK_GAP_MAX_MS)
		wake->network_gap_ms = NETWORK_GAP_MIN_MS;
	wake->network_at_ms = wake->network_last_ms + wake->network_gap_ms;
	if (wake->network_at_ms < now_ms + NETWORK_SETTLE_MS)
		wake->network_at_ms = now_ms + NETWORK_SETTLE_MS;
}

int refresher_network_timeout_ms(const struct refresher *refresher)
{
	int64_t left_ms = refresher->wake.network_at_ms - clock_boot_ms();

	if (refresher->wake.network_at_ms == INT64_MAX)
		return -1;
	return left_ms < 0 ? 0 : (int)left_ms + 1;
}

/* A moment within the window, or within the interval if that is shorter. With the lock held. */
static int64_t soon(struct refresher *refresher, const struct term *term, int64_t window_ms)
{
	int64_t interval_ms = term->config->refresh_interval_ms;

	if (interval_ms != CONFIG_NEVER && interval_ms < window_ms)
		window_ms = interval_ms;
	return clock_boot_ms() + (int64_t)(refresher_random(refresher) % (uint64_t)window_ms) + 1;
}

/* When the entry is asked now; INT64_MAX: as it was planned. */
static int64_t ask_soon(struct refresher *refresher, struct entry *entry, struct term *term)
{
	int64_t at_ms = INT64_MAX;

	pthread_mutex_lock(&refresher->lock);
	/* An attempt that is under way may still fail for what was. */
	if (entry->is_unreachable || entry->phase != PHASE_IDLE)
		entry->failures = 0;
	if (entry->is_unreachable && entry->phase == PHASE_IDLE) {
		at_ms = soon(refresher, term, NETWORK_SPREAD_MS);
		if (entry->due.place != DUE_NOWHERE && entry->due.at_ms <= at_ms)
			at_ms = INT64_MAX;
		else
			due_heap_put(&refresher->due, &entry->due, at_ms);
	}
	pthread_mutex_unlock(&refresher->lock);
	return at_ms;
}

void refresher_heed_network(struct refresher *refresher)
{
	struct wake_state *wake = &refresher->wake;
	int64_t n_asked = 0;

	if (clock_boot_ms() < wake->network_at_ms)
		return;
	wake->network_at_ms = INT64_MAX;
	wake->network_last_ms = clock_boot_ms();
	wake->network_gap_ms *= 2;
	if (wake->network_gap_ms > NETWORK_GAP_MAX_MS)
		wake->network_gap_ms = NETWORK_GAP_MAX_MS;
	for (size_t i = 0; i < refresher->n_terms; i++) {
		struct term *term = &refresher->terms[i];
		int64_t at_ms = ask_soon(refresher, &refresher->entries[i], term);

		if (at_ms == INT64_MAX)
			continue;
		term_set_next_check(term, at_ms);
		n_asked++;
	}
	pthread_mutex_lock(&refresher->lock);
	refresher_arm(refresher);
	pthread_mutex_unlock(&refresher->lock);
	if (n_asked)
		log_event(LOG_LEVEL_INFO, "network_has_come", LOG_INT("terms_asked", n_asked));
}

/* ------------------------------------------------------------------ sleep */

/* The first entry that was due by then, now due soon after, or NULL. */
static struct entry *put_off(struct refresher *refresher, int64_t by_ms, int64_t *ret_at_ms)
{
	struct entry *entry = NULL;

	pthread_mutex_lock(&refresher->lock);
	struct due_item *first = due_heap_first(&refresher->due);
	if (first && first->at_ms <= by_ms) {
		entry = container_of(first, struct entry, due);
		*ret_at_ms = soon(refresher, &refresher->terms[entry - refresher->entries],
				  OVERDUE_SPREAD_MS);
		due_heap_put(&refresher->due, first, *ret_at_ms);
	}
	pthread_mutex_unlock(&refresher->lock);
	return entry;
}

void refresher_spread_overdue(struct refresher *refresher)
{
	int64_t now_ms = clock_boot_ms(), at_ms;
	struct entry *entry;

	pthread_mutex_lock(&refresher->lock);
	const struct due_item *first = due_heap_first(&refresher->due);
	bool is_overdue = first && now_ms - first->at_ms >= OVERDUE_MS;
	pthread_mutex_unlock(&refresher->lock);
	if (!is_overdue)
		return;
	while ((entry = put_off(refresher, now_ms, &at_ms)))
		term_set_next_check(&refresher->terms[entry - refresher->entries], at_ms);
}
