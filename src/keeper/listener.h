/*
 * listener: the control socket of a mount, which outlives the workers that answer it.
 *
 * Whoever connects while no worker runs waits for the next one.
 */
#ifndef KEEPER_LISTENER_H
#define KEEPER_LISTENER_H

#include "base/err.h"

/*
 * Listens on `path`, in a directory that is there, which everybody may connect to; the caller's
 * descriptor, non-blocking. A socket of somebody who is gone is replaced. The name appears when
 * there is somebody who listens, never before.
 */
int listener_new(const char *path, struct err *err);

#endif
