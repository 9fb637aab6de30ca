/*
 * publish_counts: what was published so far, for metrics.
 */
#ifndef MOUNT_PUBLISH_PUBLISH_COUNTS_H
#define MOUNT_PUBLISH_PUBLISH_COUNTS_H

#include <stdint.h>

struct publish_counts {
	uint64_t published;	  /* names that an update has moved */
	uint64_t published_ns;	  /* from their commits until readers see them, added up */
	uint64_t renamed;	  /* names that moved or went away: by rename(2) */
	uint64_t notified;	  /* … by notifications */
	uint64_t prewarmed_bytes; /* put into the page cache before a reader asked */
};

#endif
