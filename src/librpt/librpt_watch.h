/*
 * librpt_watch: the words of .rpt/generations that a handle watches.
 *
 * Words are compared as they are in the pages. They are little-endian, but a comparison for
 * equality does not depend on that.
 */
#ifndef LIBRPT_LIBRPT_WATCH_H
#define LIBRPT_LIBRPT_WATCH_H

#include <stdint.h>
#include <sys/stat.h>

struct librpt_watch {
	const uint64_t *word;  /* the term's; NULL while nothing is watched */
	const uint64_t *first; /* word 0; LIBRPT_OVER after an orderly unmount */
	dev_t dev; /* the mount's; the kernel does not reuse it while the pages are mapped */
	uint32_t slot;
	void *pages[2]; /* owned; the second is NULL if both words are in the first */
};

#define LIBRPT_OVER UINT64_MAX

/* Builds the path of .rpt/generations in the mount that holds the file. The path need not exist.
 * The caller frees it. */
int librpt_watch_find(const char *path, char **ret);

/* Maps the words of an open .rpt/generations, and locks them in memory if that is allowed. The
 * caller keeps the descriptor. -ENOTCONN: the mount has ended. *ret is untouched on failure. */
int librpt_watch_begin(struct librpt_watch *ret, int fd, dev_t dev, uint32_t slot);
void librpt_watch_end(struct librpt_watch *watch);

/* May block if the page is not locked and not in memory. */
static inline uint64_t librpt_watch_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

#endif
