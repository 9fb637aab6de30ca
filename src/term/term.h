/*
 * term: one configured name while rptfs runs: its current snapshot, and the state of its updates.
 *
 * The update that runs for the term (one at a time), the publisher and expiry write it; any thread
 * may read it. Everything that changes is behind a leaf lock, and readers get copies. There may be
 * a hundred thousand terms, so some of them share a lock, and the struct is small.
 *
 * 	        publish ┌──── success ◄─────────────────────────┐
 * 	absent ───────► fresh ──failure──► stale, gone          │
 * 	                  └──max_stale──► expired ◄──max_stale──┘ from these too
 *
 * An expired term with on_expire = hide has no current snapshot: its snapshot is kept aside, and
 * the next success shows it again.
 *
 * A fresh term is stale while an update that was due long ago has not ended.
 *
 * A success reaches the term in three steps: term_confirm() when the source has answered,
 * term_swap() when a new snapshot is shown, term_succeeded() at the end of the update.
 */
#ifndef TERM_TERM_H
#define TERM_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "store/snapshot.h"

enum term_state {
	TERM_ABSENT,  /* no snapshot yet, or it was removed */
	TERM_FRESH,   /* the last update succeeded */
	TERM_STALE,   /* serves the last good version; the last update failed or is late, or it is
		       * unknown how it ended */
	TERM_GONE,    /* serves the last good version; the source no longer has the term */
	TERM_EXPIRED, /* no source has confirmed the last good version for max_stale; it is served,
		       * or hidden, as on_expire says */
};

#define TERM_NO_TIME (-1)

/* The state of the updates, for people. Times are wall clock, converted when the copy is made. */
struct term_status {
	enum term_state state;
	char *source_version;	  /* owned; the version at the source; NULL: unknown */
	char *last_error;	  /* owned; of the last update; NULL if it succeeded in time */
	enum err_kind error_kind; /* ERR_NONE if the last update succeeded in time */
	unsigned failures;	  /* updates that failed in a row */
	int64_t checked_at_ms;	  /* end of the last update; TERM_NO_TIME: none yet */
	int64_t next_check_at_ms; /* TERM_NO_TIME: none is planned */
	int64_t confirmed_at_ms;  /* last success, before a restart too; TERM_NO_TIME: none */
	uint64_t updated_total;
	uint64_t unchanged_total;
	uint64_t failed_total;
};

struct term {
	const struct term_config *config; /* borrowed, immutable */
	uint32_t slot; /* as in struct store_term; set before other threads use the term */

	/* Guarded by the term's lock; the times are of clock_boot_ms(). */
	uint8_t state;	    /* enum term_state */
	uint8_t error_kind; /* enum err_kind */
	unsigned failures;
	struct snapshot *current; /* owns a reference; NULL: none */
	struct snapshot *hidden;  /* owns a reference; kept aside; NULL: none */
	char *source_version;	  /* owned; NULL: the version of the snapshot */
	char *last_error;	  /* owned; NULL: none */
	int64_t checked_at_ms, next_check_at_ms, confirmed_at_ms;
	uint64_t updated_total, unchanged_total, failed_total;
};

/* The term of that name in an array that is sorted by name; NULL: there is none. */
struct term *term_find(struct term *terms, size_t n_terms, const char *name);

/* Takes the reference `current` (may be NULL), which counts as confirmed when it was fetched. */
int term_init(struct term *term, const struct term_config *config, struct snapshot *current,
	      const char *source_version, struct err *err);
void term_release(struct term *term);

/*
 * Sets when its current snapshot was confirmed, from the store (wall clock; 0: unknown). Call it
 * before other threads use the term. The later of this and the time of the fetch counts. A term
 * that has expired by now starts as expired, and hidden if it is configured so.
 *
 * Only the wall clock survives a restart: a time in the future counts as now.
 */
void term_set_confirmed(struct term *term, int64_t wall_ms);

/* Restores the state from before the start: the last check was at that time (wall clock; 0: it is
 * unknown, or it failed). The term is fresh unless the next one is late. Does nothing after the
 * first update. */
void term_restore(struct term *term, int64_t checked_wall_ms);

/* The name in events and metrics. */
const char *term_alias(const struct term *term);

/* The current snapshot with a reference for the caller, or NULL. */
struct snapshot *term_current(struct term *term);

/* The hidden one with a reference for the caller; NULL: none, or it is corrupt. */
struct snapshot *term_hidden(struct term *term);

/* The current snapshot, else the hidden one, with a reference for the caller, or NULL. */
struct snapshot *term_latest(struct term *term);

/* Makes `next` (takes the reference; may be NULL) the current snapshot, and the term fresh. Returns
 * the previous one, current or hidden, with its reference. This is the one pointer that publishing
 * changes. A hidden snapshot stays aside when the current one is taken away, and is dropped with
 * any other change. */
struct snapshot *term_swap(struct term *term, struct snapshot *next);

/* A copy of the status, to be released with term_status_release(). Its texts are NULL if memory is
 * short. */
void term_status(struct term *term, struct term_status *ret);
void term_status_release(struct term_status *status);

enum term_state term_state_now(struct term *term);

/* Records the end of an update, and the time of the next one: clock_boot_ms(), or TERM_NO_TIME. The
 * texts are copied. */
void term_succeeded(struct term *term, const char *source_version, bool is_updated,
		    int64_t next_check_at_ms);
void term_failed(struct term *term, const struct err *err, int64_t next_check_at_ms);

/* Records a new time of the next update. */
void term_set_next_check(struct term *term, int64_t boot_ms);

/* A source has just sent the bytes, or confirmed them: restarts max_stale. */
void term_confirm(struct term *term);

/* When the bytes expire, clock_boot_ms(); INT64_MAX: they cannot, or have expired. */
int64_t term_expires_at(struct term *term);

/* Expires the term if it is due; returns whether that has just happened. If the term hides when it
 * expires, the snapshot is kept aside, and the caller publishes NULL. */
bool term_expire(struct term *term);

const char *term_state_name(enum term_state state);

#endif
