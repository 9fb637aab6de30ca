/*
 * retry: when the next update is. Pure policy, without clock, state or random source.
 *
 * Times are delays from now in milliseconds; RETRY_NEVER: only on request. `share` is the term's
 * constant number in [0, 2^32), from retry_share(): it spreads the requests of a fleet. `random` is
 * any 64 random bits.
 */
#ifndef FETCH_RETRY_H
#define FETCH_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

#define RETRY_NEVER		  (-1)
#define RETRY_BACKOFF_FIRST_MS	  1000
#define RETRY_BACKOFF_MAX_MS	  INT64_C(300000)
#define RETRY_AFTER_MAX_MS	  INT64_C(86400000)
#define RETRY_FIRST_ATTEMPT_MS	  5000 /* for eager terms that have a snapshot */
#define RETRY_STEADY_SHORTENED_BY 10   /* at most one tenth of the interval */

/* Constant for a term of a machine, and spread evenly over terms and machines. */
uint32_t retry_share(const char *machine, const char *term);

/* After a start. needs_bytes: the term has no snapshot that came from one of its sources. */
int64_t retry_first(const struct term_config *config, bool needs_bytes, uint32_t share);

/* After a success. fresh_for_ms: what the source asks for, or negative. */
int64_t retry_after_success(int64_t interval_ms, int64_t fresh_for_ms, uint32_t share);

/* After the `failures`-th failure in a row, from 1. retry_after_ms: what the source asks for, or
 * negative. */
int64_t retry_after_failure(enum err_kind kind, int64_t interval_ms, unsigned failures,
			    int64_t retry_after_ms, uint32_t share, uint64_t random);

#endif
