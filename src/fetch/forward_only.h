/*
 * forward_only: the forward-only rule (DESIGN "Failover"). Pure.
 *
 * May a body that differs from the published one replace it? The first source is the authority, and
 * only `backwards` restrains it. What a later source offers must be provably newer, unless
 * `failover = any`. Keys are snapshot order keys: larger is newer, negative is unknown.
 */
#ifndef FETCH_FORWARD_ONLY_H
#define FETCH_FORWARD_ONLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "config/config.h"

enum forward_verdict {
	FORWARD_TAKE,
	FORWARD_UNPROVEN,  /* a fallback's, and one of the two has no order key */
	FORWARD_NOT_NEWER, /* a fallback's */
	FORWARD_REFUSED,   /* the authority's older one: backwards = refuse */
	FORWARD_CONFIRM,   /* the authority's older one: backwards = confirm */
};

enum forward_verdict forward_only_judge(const struct term_config *config, size_t source,
					int64_t published_key, int64_t offered_key);

/* Why it was not taken, as the rest of a sentence that begins with the source. */
const char *forward_only_reason(enum forward_verdict verdict);

#define FORWARD_CONFIRM_ANSWERS 3
#define FORWARD_CONFIRM_MS	10000

/* Answers of the authority that agree on going back. */
struct forward_confirm {
	uint8_t sha256[DIGEST_SIZE]; /* what they agree on */
	unsigned answers;	     /* counted ones, at least FORWARD_CONFIRM_MS apart */
	int64_t counted_at_ms;	     /* the last of them; clock_boot_ms() */
};

/* Would an answer now be counted? */
bool forward_only_is_time(const struct forward_confirm *confirm, int64_t now_ms);

/* Takes note of an answer. True if enough agree: the body may be taken. */
bool forward_only_agree(struct forward_confirm *confirm, const uint8_t sha256[DIGEST_SIZE],
			int64_t now_ms);

#endif
