/*
 * librpt: what the parts of the library rpt.h say to each other.
 *
 *	librpt.c		handles: when to look, what to do about what is seen
 *	librpt_watch.c		the words of .rpt/generations that a handle watches
 *	librpt_snapshot.c	one mapped snapshot
 *
 * Nothing else of rptfs is linked: functions return 0 or a negative errno, and no struct err.
 */
#ifndef LIBRPT_LIBRPT_H
#define LIBRPT_LIBRPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/util.h"

/* What calls on a mount say whose rptfs is no more. */
static inline bool librpt_is_dead(int error)
{
	return error == -ENOTCONN || error == -ECONNABORTED;
}

/* The words as they are in the pages: little-endian, which does not matter to who compares. */
struct librpt_watch {
	const uint64_t *word;  /* the term's; NULL: nothing is watched */
	const uint64_t *first; /* word 0, LIBRPT_OVER after an orderly unmount */
	dev_t dev; /* the mount; its number is not used again while its pages are mapped */
	uint32_t slot;
	void *pages[2]; /* owned; the second is NULL if both words are in the first */
};

#define LIBRPT_OVER UINT64_MAX

/* The slot of the term whose file this is; 0 if it has none. -ENOTCONN and the like. */
int librpt_watch_slot(int fd, uint32_t *ret);

/* The path of .rpt/generations in the mount that holds the file, whether there is one or not;
 * the caller frees it. */
int librpt_watch_find(const char *path, char **ret);

/* Maps the words and locks them in memory, if that is allowed. -EXDEV: the file is not of the mount
 * `dev`; -ENOTCONN: the mount is over. */
int librpt_watch_begin(struct librpt_watch *ret, const char *generations, dev_t dev, uint32_t slot);
/* Nothing is watched afterwards. */
void librpt_watch_end(struct librpt_watch *watch);

/* May wait, if the page could not be locked and is not in memory. */
static inline uint64_t librpt_watch_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

struct librpt_snapshot {
	void *data; /* owned; NULL if it is empty */
	size_t size;
	char *version;	  /* owned */
	struct stat stat; /* of the file that is mapped */
	uint32_t slot;	  /* of the term; 0: none is known */
};

/* Opens a regular file; the caller closes it. */
int librpt_snapshot_open(const char *path, int *ret_fd, struct stat *ret_stat);
/* Maps what is open (the caller keeps the descriptor). *ret is untouched on failure. */
int librpt_snapshot_map(struct librpt_snapshot *ret, int fd, const struct stat *stat);
/* Makes the bytes need their mount no more: a copy comes to where they are, or they are locked in
 * memory. If there is no memory for that they stay as they are. -ENOTCONN: not all of them were to
 * be had. */
int librpt_snapshot_rescue(struct librpt_snapshot *snapshot);
void librpt_snapshot_release(struct librpt_snapshot *snapshot);

#endif
