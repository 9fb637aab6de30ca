/*
 * term_memory: what is remembered of a term between its updates. Used by the one update that runs
 * for the term.
 */
#ifndef FETCH_TERM_MEMORY_H
#define FETCH_TERM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "fetch/forward_only.h"
#include "fetch/source_memory.h"
#include "store/store.h"

struct term_memory {
	const struct term_config *config; /* borrowed */
	uint64_t snapshot_id;		  /* MEMORY_CURRENT and MEMORY_OLDER refer to it; 0: none */
	int64_t order_key;		  /* the latest that is known for those bytes */
	struct snapshot *unpublished;	  /* owned reference; committed, but not shown yet; NULL */
	struct forward_confirm *confirm;  /* owned; NULL: there is nothing to confirm */
	int64_t confirmed_noted_ms;	  /* the last note in the store; clock_boot_ms(); 0: none */
	int64_t check_noted_ms;		  /* the same for store_note_check() */
	uint32_t answering;		  /* the source that answered last */
	uint16_t log_window;		  /* the latest in which a line about it was logged */
	uint8_t n_logged;		  /* the lines in that window */
	bool is_stranger : 1; /* the snapshot came from none of the sources configured now */
	bool has_run : 1;
	struct source_memory sources[]; /* config->n_sources of them */
};

/* fingerprint and token: as recorded in the store with the term's snapshot. */
int term_memory_new(struct term_memory **ret, const struct term_config *config, const char *token,
		    uint64_t fingerprint, struct err *err);
/* Remembers a token of the term that the store has as refused. It is younger than the token of the
 * snapshot: the next good one would have replaced it. */
void term_memory_refuse(struct term_memory *memory, const struct store_refusal *refusal);
void term_memory_free(struct term_memory *memory);

/* Call at the start of an update. If the current snapshot (NULL: none) has changed since the last
 * update by other means, forgets everything that depended on the old one. */
void term_memory_recognise(struct term_memory *memory, const struct snapshot *current);

/* Call when another snapshot becomes current. Forgets everything that depended on the old one. */
void term_memory_void(struct term_memory *memory);

#endif
