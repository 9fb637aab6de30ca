/*
 * inherited_fds: the descriptors that the command inherits from its parent.
 *
 * Runs in the command before it becomes the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_INHERITED_FDS_H
#define KEEPER_INHERITED_FDS_H

#include "keeper/systemd.h"

/* Opens /dev/null for the standard streams that are closed, so that no other descriptor gets their
 * numbers. */
void inherited_fds_open_standard(void);

/* Closes all descriptors except the standard streams and those that the service manager stored, so
 * that the mount does not keep a descriptor open that its caller leaked. */
void inherited_fds_close(const struct systemd_stored *stored);

#endif
