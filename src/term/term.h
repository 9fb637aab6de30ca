/*
 * term: one configured name while rptfs runs: its current snapshot and how refreshing it goes.
 *
 * Written by the update that runs for the term (one at a time), by the publisher and by expiry,
 * read by everybody. All that changes is behind one leaf lock; readers take copies.
 *
 *	        publish ┌──── success ◄─────────────────────────┐
 *	absent ───────► fresh ──failure──► stale, gone          │
 *	                  └──max_stale──► expired ◄──max_stale──┘ of these too
 *
 * An expired term with on_expire = hide has no current snapshot: the one that was is kept aside,
 * and the next success shows it again.
 */
#ifndef TERM_TERM_H
#define TERM_TERM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "store/snapshot.h"

enum term_state {
	TERM_ABSENT, /* no snapshot yet (or removed) */
	TERM_FRESH,  /* the last attempt succeeded */
	TERM_STALE, /* the last good version is served; the last attempt failed, or none was made */
	TERM_GONE,  /* the source says that there is no such thing; the last good version is served
		     */
	TERM_EXPIRED, /* no source has confirmed the last good version for max_stale; it is served,
		       * or hidden, as on_expire says */
};

#define TERM_NO_TIME (-1)

/* How refreshing goes, as people see it: times are what the wall clock shows for them when the copy
 * is made. Texts are owned by whoever holds the struct. */
struct term_status {
	enum term_state state;
	char *source_version;	  /* what the source last called the current bytes; NULL: unknown */
	char *last_error;	  /* of the last attempt; NULL when it succeeded */
	enum err_kind error_kind; /* ERR_NONE when the last attempt succeeded */
	unsigned failures;	  /* attempts that failed in a row */
	int64_t checked_at_ms;	  /* end of the last attempt; TERM_NO_TIME: none yet */
	int64_t next_check_at_ms; /* TERM_NO_TIME: none is planned */
	int64_t confirmed_at_ms;  /* the last success, of an earlier life too; TERM_NO_TIME: none */
	uint64_t updated_total;
	uint64_t unchanged_total;
	uint64_t failed_total;
};

struct term {
	const struct term_config *config; /* borrowed, immutable */
	uint32_t slot; /* as struct store_term's; set before anybody else knows the term */

	pthread_mutex_t lock;
	struct snapshot *current;  /* guarded by lock; owns a reference; NULL: none */
	struct snapshot *hidden;   /* guarded by lock; owns a reference; kept aside; NULL: none */
	struct term_status status; /* guarded by lock; its times are clock_boot_ms() */
};

/* Takes the reference `current` (may be NULL), which counts as confirmed when it was fetched. */
int term_init(struct term *term, const struct term_config *config, struct snapshot *current,
	      const char *source_version, struct err *err);
void term_release(struct term *term);

/*
 * Before anybody else knows the term: when the store says that its current snapshot was confirmed
 * (wall clock; 0: it does not say). The later of this and the time of the fetch counts. A term that
 * has expired by now is so from the first look-up on, and hidden if it is to be.
 *
 * Between two lives the wall clock is all there is: a time to come counts as this moment. Within
 * one life it does not matter.
 */
void term_set_confirmed(struct term *term, int64_t wall_ms);

/* The name in events and metrics. */
const char *term_alias(const struct term *term);

/* The current snapshot with a reference for the caller, or NULL. */
struct snapshot *term_current(struct term *term);

/* The current snapshot, or the one that is hidden, with a reference for the caller; NULL: neither,
 * or what is hidden turned out corrupt. */
struct snapshot *term_latest(struct term *term);
/* The hidden one with a reference for the caller, or NULL. */
struct snapshot *term_hidden(struct term *term);

/* Makes `next` (takes the reference; may be NULL) the current one; returns the one before, current
 * or hidden, whose reference is the caller's. This is the one pointer that publishing changes. What
 * is hidden stays aside when the current one is taken away, and is given up with any other change.
 */
struct snapshot *term_swap(struct term *term, struct snapshot *next);

/* A copy of the status, to be released with term_status_release(). If memory is short its texts
 * are NULL. */
void term_status(struct term *term, struct term_status *ret);
void term_status_release(struct term_status *status);

enum term_state term_state_now(struct term *term);

/* The outcome of an attempt; term_failed() copies the message. The state follows from it. */
void term_succeeded(struct term *term, const char *source_version, bool updated);
void term_failed(struct term *term, const struct err *err);
/* clock_boot_ms(), or TERM_NO_TIME. */
void term_set_next_check(struct term *term, int64_t boot_ms);

/* A source has just confirmed the bytes: max_stale begins anew. Before whatever comes of it is
 * published, so that it does not expire in between. */
void term_confirm(struct term *term);

/* When the bytes are due to expire, clock_boot_ms(); INT64_MAX: they cannot, or have expired. */
int64_t term_expires_at(struct term *term);

/* Expires the term if it is due: true if that has just happened. Where it is to be hidden its
 * snapshot is kept aside; taking it off its name (publishing NULL) is left to the caller. */
bool term_expire(struct term *term);

const char *term_state_name(enum term_state state);

#endif
