/*
 * source_memory: what is remembered of one source between the updates of its term.
 *
 * This is the last token that the source gave, and its meaning. The next request to the source is
 * conditional on that token, so that no body is downloaded twice: neither the current one, nor one
 * that was refused, nor one that was too old. Refusals are kept in the store, the rest is not. Used
 * by the one update that runs for the term.
 */
#ifndef FETCH_SOURCE_MEMORY_H
#define FETCH_SOURCE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/sink.h"
#include "config/config.h"
#include "store/store.h"

enum memory_meaning {
	MEMORY_NOTHING,
	MEMORY_CURRENT, /* the token stands for the bytes of the current snapshot */
	MEMORY_REFUSED, /* for a body that was bad */
	MEMORY_OLDER,	/* for a body that the forward-only rule refused */
};

struct source_memory {
	enum memory_meaning meaning;
	char *version;		      /* owned; a version_text(); NULL with MEMORY_NOTHING */
	char *reason;		      /* owned; why a body was not taken; may be NULL */
	struct sink *kept;	      /* owned; the unfinished download, or NULL */
	int64_t leave_alone_until_ms; /* a fallback's Retry-After; clock_boot_ms() */
};

/* Whether the store has recorded it for this source, with the present limits of its bodies. */
bool source_memory_is_refusal_of(const struct store_refusal *refusal,
				 const struct term_config *config, size_t source);
void source_memory_release(struct source_memory *memory);

/* A version is a version_text(). With an empty or NULL one, or if out of memory, nothing is
 * remembered: the next update downloads. */
void source_memory_set(struct source_memory *memory, enum memory_meaning meaning,
		       const char *version, const char *reason);

/* As source_memory_set(), and updates the refusals that the store keeps. They only save later
 * downloads, so a failure of the store does not fail this update. */
void source_memory_record(struct source_memory *memory, struct store *store,
			  const struct term_config *config, size_t source,
			  enum memory_meaning meaning, const char *version, const char *reason);

/* Another snapshot became current: forgets what was relative to the one before. */
void source_memory_void(struct source_memory *memory);

#endif
