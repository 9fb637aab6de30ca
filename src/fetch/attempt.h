/*
 * attempt: asks one source, and decides whether to take its answer.
 *
 *	unchanged ── the remembered token stands for ─┬─ current bytes ────► ATTEMPT_UNCHANGED
 *	                                              ├─ a refused body ───► ATTEMPT_END
 *	                                              └─ an older body ────► as "older" below
 *	body ─┬─ bad ── remembered as refused ─────────────────────────────► ATTEMPT_END
 *	      ├─ same digest as the current one ───────────────────────────► ATTEMPT_UNCHANGED
 *	      ├─ older (forward-only rule) ── remembered ─┬─ authority's ──► ATTEMPT_END
 *	      │                                           └─ fallback's ───► ATTEMPT_NEXT
 *	      └─ store_commit() ───────────────────────────────────────────► ATTEMPT_COMMITTED
 *	failure ───────────────────────────────────────────────────────────► ATTEMPT_NEXT
 */
#ifndef FETCH_ATTEMPT_H
#define FETCH_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/fetch_env.h"
#include "fetch/fetcher.h"
#include "fetch/term_memory.h"

enum attempt_result {
	ATTEMPT_COMMITTED, /* a new snapshot is in the store, and has to be published */
	ATTEMPT_UNCHANGED,
	ATTEMPT_NEXT, /* err says why; the next source may be asked */
	ATTEMPT_END,  /* err says why; no other source is asked */
	ATTEMPT_CANCELED,
};

/* What the answers say about the time of the next update; FETCHED_UNKNOWN: nothing. */
struct update_advice {
	int64_t fresh_for_ms;	/* from the source */
	int64_t retry_after_ms; /* from the first source */
	int64_t confirm_in_ms;	/* backwards = confirm needs another answer */
};

struct attempt {
	/* Input; all borrowed. */
	const struct fetch_env *env;
	struct term_memory *memory;
	const struct snapshot *current; /* what is published, or hidden; NULL: nothing */
	size_t source;
	bool is_forced; /* ask without condition */

	/* Borrowed: the place at the source's origin. The caller takes it for the first source,
	 * attempt_run() for the others; the caller gives it back, once it has published. */
	struct origin_place *place;

	/* The answer. */
	struct update_advice *advice; /* borrowed; changed where the answer says something */
	char version[VERSION_SIZE];   /* for messages: what the source calls its bytes */
	struct snapshot *committed;   /* owned by the caller; with ATTEMPT_COMMITTED */
	struct err err;
};

enum attempt_result attempt_run(struct attempt *a);

/* The name of the source for messages. */
const char *attempt_source_name(const struct term_config *config, size_t source);

#endif
