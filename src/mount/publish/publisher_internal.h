/*
 * publisher_internal: shared by the publisher's files.
 */
#ifndef MOUNT_PUBLISH_PUBLISHER_INTERNAL_H
#define MOUNT_PUBLISH_PUBLISHER_INTERNAL_H

#include <stdatomic.h>

#include "mount/publish/prewarm.h"
#include "mount/publish/publisher.h"

struct publisher {
	struct publisher_setup setup;
	struct prewarm *prewarm; /* owned */
	bool may_rename;	 /* it is not known yet that rename(2) can never work */
	atomic_bool renames;	 /* the last move was a rename, or there was none yet */
	_Atomic uint64_t n_renamed, n_notified;
};

#endif
