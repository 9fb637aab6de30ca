/*
 * launch: prepares a mount in the command, before it becomes the keeper: makes everything that must
 * exist before the first worker and as long as the mount.
 *
 * Runs in the command before it becomes the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_LAUNCH_H
#define KEEPER_LAUNCH_H

#include "config/config.h"
#include "keeper/keeper.h"
#include "keeper/systemd.h"

/* Fills *ret, whose descriptors are the caller's. Takes the stored descriptors. Returns 0, or the
 * exit code, after undoing everything. */
int launch(struct keeper_state *ret, const struct config *config, struct systemd_stored *stored,
	   bool is_debugged, struct err *err);

/* Undoes launch(), if the command does not become the keeper. */
void launch_undo(struct keeper_state *state);

/* Writes the effective configuration into a memfd and seals it. */
int launch_render(const struct config *config, int memfd, struct err *err);

/* Returns 0 if a mount with the old configuration can continue with the new one. Otherwise
 * ERR_CONFIG names the option that must not change. */
int launch_compare(const struct config *old, const struct config *new, struct err *err);

#endif
