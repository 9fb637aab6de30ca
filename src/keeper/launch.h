/*
 * launch: what the command itself does, with the rights that it was started with, before it becomes
 * the keeper: everything that has to be there before a worker runs, and for as long as the mount
 * stands.
 */
#ifndef KEEPER_LAUNCH_H
#define KEEPER_LAUNCH_H

#include "keeper/keeper.h"
#include "keeper/systemd.h"
#include "config/config.h"

/* Fills *ret, whose descriptors are the caller's; takes what was kept. On failure returns the exit
 * code, with what was made taken away again; 0 if all is well. */
int launch(struct keeper_state *ret, const struct config *config, struct systemd_stored *kept,
	   bool is_debugged, struct err *err);

/* Takes away what launch() has made, when there will be no keeper after all. */
void launch_undo(struct keeper_state *state);

/* Writes the effective configuration into a memfd and seals it. */
int launch_render(const struct config *config, int memfd, struct err *err);

/* Is the new configuration one that a mount with the old one can go on with? ERR_CONFIG, saying
 * what must not change, if not. */
int launch_compare(const struct config *old, const struct config *new, struct err *err);

#endif
