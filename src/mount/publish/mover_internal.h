/*
 * mover_internal: what the mover's files share.
 */
#ifndef MOUNT_PUBLISH_MOVER_INTERNAL_H
#define MOUNT_PUBLISH_MOVER_INTERNAL_H

#include <stdatomic.h>

#include "mount/publish/mover.h"
#include "mount/publish/prewarm.h"

struct mover {
	struct mover_setup setup;
	struct prewarm *prewarm; /* owned */
	atomic_bool renames;	 /* it is not known yet that this fails */
	_Atomic uint64_t n_renamed, n_notified;
};

#endif
