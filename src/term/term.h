/*
 * term: one configured name while rptfs runs: its current snapshot and how refreshing it goes.
 *
 * Written by the update that runs for the term (one at a time) and by the publisher, read by
 * everybody. All that changes is behind one leaf lock; readers take copies.
 */
#ifndef TERM_TERM_H
#define TERM_TERM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "term/config.h"
#include "term/snapshot.h"

enum term_state {
	TERM_ABSENT, /* no snapshot yet (or removed) */
	TERM_FRESH,  /* the last attempt succeeded */
	TERM_STALE, /* the last good version is served; the last attempt failed, or none was made */
	TERM_GONE,  /* the source says that there is no such thing; the last good version is served
		     */
};

#define TERM_NO_TIME (-1)

/* How refreshing goes, as people see it. Texts are owned by whoever holds the struct. */
struct term_status {
	enum term_state state;
	char *source_version;	  /* what the source last called the current bytes; NULL: unknown */
	char *last_error;	  /* of the last attempt; NULL when it succeeded */
	enum err_kind error_kind; /* ERR_NONE when the last attempt succeeded */
	unsigned failures;	  /* attempts that failed in a row */
	int64_t checked_at_ms;	  /* wall clock, end of the last attempt; TERM_NO_TIME: none yet */
	int64_t next_check_at_ms; /* wall clock; TERM_NO_TIME: none is planned */
	uint64_t updated_total;
	uint64_t unchanged_total;
	uint64_t failed_total;
};

struct term {
	const struct term_config *config; /* borrowed, immutable */

	pthread_mutex_t lock;
	struct snapshot *current;  /* guarded by lock; owns a reference; NULL: none */
	struct term_status status; /* guarded by lock */
};

/* Takes the reference `current` (may be NULL). */
int term_init(struct term *term, const struct term_config *config, struct snapshot *current,
	      const char *source_version, struct err *err);
void term_release(struct term *term);

/* The name in events and metrics. */
const char *term_alias(const struct term *term);

/* The current snapshot with a reference for the caller, or NULL. */
struct snapshot *term_current(struct term *term);

/* Makes `next` (takes the reference; may be NULL) the current one; returns the one before, whose
 * reference is the caller's. This is the one pointer that publishing changes. */
struct snapshot *term_swap(struct term *term, struct snapshot *next);

/* A copy of the status, to be released with term_status_release(). If memory is short its texts
 * are NULL. */
void term_status(struct term *term, struct term_status *ret);
void term_status_release(struct term_status *status);

/* The outcome of an attempt; term_failed() copies the message. The state follows from it. */
void term_succeeded(struct term *term, const char *source_version, bool updated);
void term_failed(struct term *term, const struct err *err);
void term_set_next_check(struct term *term, int64_t wall_ms);

const char *term_state_name(enum term_state state);

#endif
