/*
 * inherited: what the command inherits from its parent: descriptors, signals and the umask.
 *
 * Runs in the command before it becomes the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_INHERITED_H
#define KEEPER_INHERITED_H

#include "keeper/systemd.h"

/* Opens /dev/null for the standard streams that are closed, so that no other descriptor gets their
 * numbers. */
void inherited_open_standard(void);

/* Closes all descriptors except the standard streams and those that the service manager stored, so
 * that the mount does not keep a descriptor open that its caller leaked. */
void inherited_close_fds(const struct systemd_stored *stored);

/* A parent may ignore or block signals, or mask the owner's rights to new files. None of that may
 * keep a process from noticing the end of another, from ending, or from using its own files. What
 * nohup(1) and shells ignore on purpose (SIGHUP, SIGINT) stays ignored. A write beyond
 * RLIMIT_FSIZE fails, in the processes that are executed too, instead of killing the writer. */
void inherited_reset_signals_and_umask(void);

#endif
