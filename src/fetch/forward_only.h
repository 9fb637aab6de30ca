/*
 * forward_only: whether a body that differs from the published one may replace it. Pure.
 *
 * The first source is the authority, and only `backwards` restrains it. The body of a fallback must
 * be provably newer, unless failover = any. Keys are the order keys of snapshots: larger is newer,
 * negative is unknown.
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
	FORWARD_UNPROVEN,  /* from a fallback, and one of the two has no order key */
	FORWARD_NOT_NEWER, /* from a fallback */
	FORWARD_REFUSED,   /* older, from the authority, with backwards = refuse */
	FORWARD_CONFIRM,   /* older, from the authority, with backwards = confirm */
};

enum forward_verdict forward_only_judge(const struct term_config *config, size_t source,
					int64_t published_key, int64_t offered_key);

/* Why the body was not taken, as the rest of a sentence about its version. */
const char *forward_only_reason(enum forward_verdict verdict);

#define FORWARD_CONFIRM_ANSWERS 3
#define FORWARD_CONFIRM_MS	10000

/* Answers of the authority that agree to go back. */
struct forward_confirm {
	uint8_t sha256[DIGEST_SIZE]; /* the bytes that they agree on */
	unsigned answers;	     /* counted ones, at least FORWARD_CONFIRM_MS apart */
	int64_t counted_at_ms;	     /* the last of them; clock_boot_ms() */
};

/* Whether an answer would be counted now. */
bool forward_only_is_time(const struct forward_confirm *confirm, int64_t now_ms);

/* Notes an answer. True if enough answers agree: the body may be taken. */
bool forward_only_agree(struct forward_confirm *confirm, const uint8_t sha256[DIGEST_SIZE],
			int64_t now_ms);

#endif
