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
	atomic_bool renames;	 /* it is not known yet that this fails */
	_Atomic uint64_t n_renamed, n_notified;
};

#endif
