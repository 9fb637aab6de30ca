/*
 * librpt_snapshot: one mapped snapshot.
 *
 * Like all of librpt, it links to nothing else of rptfs. So functions return 0 or a negative errno,
 * and use no struct err.
 */
#ifndef LIBRPT_LIBRPT_SNAPSHOT_H
#define LIBRPT_LIBRPT_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/util.h"

/* Returns whether this error of a call on a mount means that its rptfs has ended. */
static inline bool librpt_is_dead(int error)
{
	return error == -ENOTCONN || error == -ECONNABORTED;
}

struct librpt_snapshot {
	void *data; /* owned; NULL if the file is empty */
	size_t size;
	char *version;	  /* owned */
	struct stat stat; /* of the mapped file */
	uint32_t slot;	  /* of the term; 0 if it has none */
};

/* Opens a regular file; the caller closes it. */
int librpt_snapshot_open(const char *path, int *ret_fd, struct stat *ret_stat);
/* The slot of the term whose file is open, or 0. Fails only if the mount is dead. */
int librpt_snapshot_slot(int fd, uint32_t *ret);
/* Maps an open file. The caller keeps the descriptor. *ret is untouched on failure. */
int librpt_snapshot_map(struct librpt_snapshot *ret, int fd, const struct stat *stat,
			uint32_t slot);
/* Makes the bytes independent of their mount: replaces the mapping by a copy at the same address,
 * or locks it in memory. If neither is possible the mapping stays as it is, which is no error.
 * -ENOTCONN: some of the bytes are lost. */
int librpt_snapshot_rescue(struct librpt_snapshot *snapshot);
void librpt_snapshot_release(struct librpt_snapshot *snapshot);

#endif
