/*
 * predecessor: waiting for the rptfs that had the mount point before.
 *
 * `umount` returns before the processes of the mount have ended, and a keeper that was killed
 * leaves a worker and a dead mount behind for a moment. A start waits for their end.
 *
 * Runs in the command before it becomes the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_PREDECESSOR_H
#define KEEPER_PREDECESSOR_H

#include "base/err.h"

/* As mountpoint_prepare(), but if another rptfs has the mount point, waits for its end: 2 s, or 5 s
 * if it is no longer mounted there. Then the error names its process, and says what to do. */
int predecessor_wait(const char *mountpoint, int *ret_lock, struct err *err);

#endif
