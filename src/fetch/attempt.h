/*
 * attempt: asks one source within an update, and does with its answer what may be done.
 *
 * Private to update.c. The life of an answer:
 *
 *	unchanged ── the remembered token stands for ─┬─ current bytes ──────────► STEP_UNCHANGED
 *	                                              ├─ a refused body ─────────► STEP_END
 *	                                              └─ an older body ──────────► as "older" below
 *	body ─┬─ bad ── remembered as refused ───────────────────────────────────► STEP_END
 *	      ├─ same digest as the current one ─────────────────────────────────► STEP_UNCHANGED
 *	      ├─ older (forward-only rule) ── remembered ─┬─ the authority's ────► STEP_END
 *	      │                                           └─ a fallback's ───────► STEP_NEXT
 *	      └─ store_commit() ── publish ──────────────────────────────────────► STEP_UPDATED
 *	failure ──────────────────────────────────────────────────────────────────► STEP_NEXT
 */
#ifndef FETCH_ATTEMPT_H
#define FETCH_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/source_failures.h"
#include "fetch/forward_only.h"
#include "fetch/source_memory.h"
#include "fetch/update.h"

struct update_state {
	const struct term_config *config; /* borrowed */
	uint64_t snapshot_id; /* what MEMORY_CURRENT and MEMORY_OLDER are about; 0: nothing */
	int64_t order_key;    /* the latest that is known of those bytes */
	struct forward_confirm *confirm; /* owned; NULL: nothing is to be confirmed */
	int64_t confirmed_noted_ms; /* when the store was told last; clock_boot_ms(); 0: not yet */
	uint32_t answering;	    /* the source that answered last */
	bool is_stranger;
	bool has_run;
	struct source_memory memories[]; /* config->n_sources of them */
};

/* Forgets what was relative to a snapshot that is no longer the current one. */
void update_state_void(struct update_state *state);

struct attempt {
	struct update_state *state;
	struct term *term;
	const struct update_env *env;
	struct snapshot *current; /* borrowed; what is published, or hidden; NULL: nothing */
	int64_t began_ms;	  /* clock_boot_ms() */
	size_t source;		  /* the one that is asked; in the end the one that answered */

	/* Results. */
	struct update_advice advice;
	char version[VERSION_SIZE]; /* for people: what the source calls its bytes */
	uint64_t bytes;		    /* of the published snapshot; 0 if none was */
	struct source_failures failures;
};

enum step { STEP_UPDATED, STEP_UNCHANGED, STEP_NEXT, STEP_END, STEP_CANCELED };

/* Asks a->source. */
enum step attempt_source(struct attempt *a);

const char *attempt_source_name(const struct attempt *a, size_t source);

#endif
