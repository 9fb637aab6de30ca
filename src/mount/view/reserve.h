/*
 * reserve: one descriptor in hand, so that snapshots can be read when no other is left.
 *
 * At the process's or the system's limit it is given up, and had again as soon as the snapshot is
 * closed: reads go on, one at a time, while whatever else needs a descriptor has to wait.
 */
#ifndef MOUNT_VIEW_RESERVE_H
#define MOUNT_VIEW_RESERVE_H

#include "store/store.h"

struct reserve;

int reserve_new(struct reserve **ret, struct err *err);
/* NULL is allowed. */
void reserve_free(struct reserve *reserve);

/* As store_open_bytes(); for reserve_close(). */
int reserve_open(struct reserve *reserve, struct store *store, const struct snapshot *snapshot,
		 struct err *err);
/* -1 is allowed. */
void reserve_close(struct reserve *reserve, int fd);

#endif
