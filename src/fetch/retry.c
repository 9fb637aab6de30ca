#include "fetch/retry.h"

#include "base/util.h"

static uint64_t hash_text(uint64_t hash, const char *text)
{
	/* FNV-1a. The NUL is included, to separate the texts. */
	do {
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	} while (*text++);
	return hash;
}

uint32_t retry_share(const char *machine, const char *term)
{
	uint64_t hash = hash_text(hash_text(UINT64_C(0xcbf29ce484222325), machine), term);

	/* FNV gives similar texts similar high bits, hence the finaliser of MurmurHash3. */
	hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
	hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return (uint32_t)(hash >> 32);
}

static int64_t min_ms(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max_ms(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* fraction / 2^32 of the window, without overflow for any duration that can be configured. */
static int64_t part_of(int64_t window_ms, uint32_t fraction)
{
	return (window_ms >> 32) * fraction + (((window_ms & UINT32_MAX) * fraction) >> 32);
}

static int64_t steady(int64_t interval_ms, uint32_t share)
{
	if (interval_ms == CONFIG_NEVER)
		return RETRY_NEVER;
	return max_ms(1, interval_ms - part_of(interval_ms / RETRY_STEADY_SHORTENED_BY, share));
}

int64_t retry_first(const struct term_config *config, bool needs_bytes, uint32_t share)
{
	bool never = config->refresh_interval_ms == CONFIG_NEVER;

	if (needs_bytes)
		return 0;
	if (config->lazy_init)
		return never ? RETRY_NEVER : part_of(config->refresh_interval_ms, share);
	return part_of(never ? RETRY_FIRST_ATTEMPT_MS
			     : min_ms(RETRY_FIRST_ATTEMPT_MS, config->refresh_interval_ms),
		       share);
}

int64_t retry_after_success(int64_t interval_ms, int64_t fresh_for_ms, uint32_t share)
{
	/* Not shortened: a cache in between would only answer "unchanged". */
	if (fresh_for_ms >= 0)
		return max_ms(1, min_ms(fresh_for_ms, OPTION_DURATION_MAX_MS));
	return steady(interval_ms, share);
}

static int64_t back_off(int64_t interval_ms, unsigned failures, uint64_t random)
{
	int64_t limit = interval_ms == CONFIG_NEVER ? RETRY_BACKOFF_MAX_MS
						    : min_ms(interval_ms, RETRY_BACKOFF_MAX_MS);
	int64_t window = max_ms(1, min_ms(limit, RETRY_BACKOFF_FIRST_MS));

	for (unsigned i = 1; i < failures && window < limit; i++)
		window *= 2;
	return max_ms(1, part_of(min_ms(window, limit), (uint32_t)random));
}

int64_t retry_after_failure(enum err_kind kind, int64_t interval_ms, unsigned failures,
			    int64_t retry_after_ms, uint32_t share, uint64_t random)
{
	int64_t delay = RETRY_NEVER;

	switch (kind) {
	case ERR_UNREACHABLE:
	case ERR_BUSY:
	case ERR_INTERNAL:
	case ERR_NONE:
		delay = back_off(interval_ms, failures, random);
		break;
	case ERR_CONFIG:
	case ERR_DENIED:
	case ERR_NOT_FOUND:
	case ERR_BAD_DATA:
		delay = steady(interval_ms, share);
		break;
	case ERR_CANCELED:
		break;
	}
	if (delay == RETRY_NEVER || retry_after_ms < 0)
		return delay;
	/* All clients got the same time, so this spreads them over a tenth of it. */
	int64_t at_least = min_ms(retry_after_ms, RETRY_AFTER_MAX_MS);
	return max_ms(delay, at_least + part_of(at_least / 10, (uint32_t)(random >> 32)));
}
