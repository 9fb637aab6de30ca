#include "fetch/forward_only.h"

#include <string.h>

enum forward_verdict forward_only_judge(const struct term_config *config, size_t source,
					int64_t published_key, int64_t offered_key)
{
	bool both_known = published_key >= 0 && offered_key >= 0;

	if (source > 0) {
		if (config->failover == FAILOVER_ANY)
			return FORWARD_TAKE;
		if (!both_known)
			return FORWARD_UNPROVEN;
		return offered_key > published_key ? FORWARD_TAKE : FORWARD_NOT_NEWER;
	}
	if (!both_known || offered_key >= published_key)
		return FORWARD_TAKE;
	switch (config->backwards) {
	case BACKWARDS_ACCEPT:
		return FORWARD_TAKE;
	case BACKWARDS_CONFIRM:
		return FORWARD_CONFIRM;
	case BACKWARDS_REFUSE:
		return FORWARD_REFUSED;
	}
	return FORWARD_REFUSED;
}

const char *forward_only_reason(enum forward_verdict verdict)
{
	switch (verdict) {
	case FORWARD_TAKE:
		return "taken";
	case FORWARD_UNPROVEN:
		return "cannot be proven newer than what is served (no Last-Modified on both)";
	case FORWARD_NOT_NEWER:
		return "is not newer than what is served";
	case FORWARD_REFUSED:
		return "is older than what is served (backwards = refuse)";
	case FORWARD_CONFIRM:
		return "is older than what is served (backwards = confirm)";
	}
	return "";
}

bool forward_only_is_time(const struct forward_confirm *confirm, int64_t now_ms)
{
	return confirm->answers == 0 || now_ms - confirm->counted_at_ms >= FORWARD_CONFIRM_MS;
}

bool forward_only_agree(struct forward_confirm *confirm, const uint8_t sha256[DIGEST_SIZE],
			int64_t now_ms)
{
	if (confirm->answers > 0 && memcmp(confirm->sha256, sha256, DIGEST_SIZE) != 0)
		confirm->answers = 0;
	if (forward_only_is_time(confirm, now_ms)) {
		memmove(confirm->sha256, sha256, DIGEST_SIZE);
		confirm->answers++;
		confirm->counted_at_ms = now_ms;
	}
	return confirm->answers >= FORWARD_CONFIRM_ANSWERS;
}
