/*
 * launch: what the command does before it becomes the keeper: it makes everything that the mount
 * needs before a worker runs and for as long as it exists.
 *
 * Runs in the command before it becomes the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_LAUNCH_H
#define KEEPER_LAUNCH_H

#include "config/config.h"
#include "keeper/keeper.h"
#include "keeper/systemd.h"

/* Fills *ret, whose descriptors are the caller's. Takes what was stored. Returns 0, or the exit
 * code after removing what was made. */
int launch(struct keeper_state *ret, const struct config *config, struct systemd_stored *stored,
	   bool is_debugged, struct err *err);

/* Removes what launch() has made, if there will be no keeper. */
void launch_undo(struct keeper_state *state);

/* Writes the effective configuration into a memfd and seals it. */
int launch_render(const struct config *config, int memfd, struct err *err);

/* Can a mount with the old configuration continue with the new one? If not, returns -1 and
 * ERR_CONFIG with the option that must not change. */
int launch_compare(const struct config *old, const struct config *new, struct err *err);

#endif
