/*
 * spare_fd: one spare descriptor, so that snapshots can be read when no other descriptor is left.
 *
 * At the limit of the process or of the system the spare one is closed to open the snapshot, and
 * reopened when the snapshot is closed. Reads continue, one at a time, while everything else that
 * needs a descriptor waits.
 */
#ifndef MOUNT_VIEW_SPARE_FD_H
#define MOUNT_VIEW_SPARE_FD_H

#include "store/store.h"

struct spare_fd;

int spare_fd_new(struct spare_fd **ret, struct err *err);
/* NULL is allowed. */
void spare_fd_free(struct spare_fd *spare_fd);

/* Like store_open_bytes(). Close the descriptor with spare_fd_close(). */
int spare_fd_open(struct spare_fd *spare_fd, struct store *store, const struct snapshot *snapshot,
		  struct err *err);
/* -1 is allowed. */
void spare_fd_close(struct spare_fd *spare_fd, int fd);

#endif
