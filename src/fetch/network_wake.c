#include "fetch/network_wake.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

/* A link, its address and its routes come one after the other. */
#define SETTLE_MS 300
#define SPREAD_MS 2000
/* A link that flaps must not cause a storm of requests: the gap between two reactions doubles,
 * until nothing has happened for the longest one. */
#define GAP_MIN_MS 5000
#define GAP_MAX_MS INT64_C(300000)

void network_wake_init(struct network_wake *wake, struct update_plan *plan)
{
	struct err err = ERR_INIT;

	*wake = (struct network_wake){
		.plan = plan,
		.act_at_ms = INT64_MAX,
		.acted_at_ms = clock_boot_ms() - GAP_MAX_MS,
		.gap_ms = GAP_MIN_MS,
	};
	if (network_new(&wake->network, &err) < 0)
		log_event(LOG_LEVEL_DEBUG, "network_not_heard_of", LOG_STR("error", err.msg));
}

void network_wake_release(struct network_wake *wake)
{
	network_free(steal_ptr(&wake->network));
}

int network_wake_fd(const struct network_wake *wake)
{
	return network_fd(wake->network);
}

int network_wake_timeout_ms(const struct network_wake *wake)
{
	int64_t left_ms = wake->act_at_ms - clock_boot_ms();

	if (wake->act_at_ms == INT64_MAX)
		return -1;
	return left_ms < 0 ? 0 : (int)left_ms + 1;
}

bool network_wake_read(struct network_wake *wake)
{
	int64_t now_ms = clock_boot_ms();

	if (!network_has_come(wake->network))
		return false;
	if (wake->act_at_ms != INT64_MAX)
		return true;
	if (now_ms - wake->acted_at_ms >= GAP_MAX_MS)
		wake->gap_ms = GAP_MIN_MS;
	wake->act_at_ms = wake->acted_at_ms + wake->gap_ms;
	if (wake->act_at_ms < now_ms + SETTLE_MS)
		wake->act_at_ms = now_ms + SETTLE_MS;
	return true;
}

void network_wake_act(struct network_wake *wake)
{
	if (clock_boot_ms() < wake->act_at_ms)
		return;
	wake->act_at_ms = INT64_MAX;
	wake->acted_at_ms = clock_boot_ms();
	wake->gap_ms = wake->gap_ms * 2 < GAP_MAX_MS ? wake->gap_ms * 2 : GAP_MAX_MS;
	size_t n = update_plan_retry_unreachable(wake->plan, SPREAD_MS);
	if (n)
		log_event(LOG_LEVEL_INFO, "network_has_come", LOG_INT("terms_asked", (int64_t)n));
}
