/*
 * legacy_fingerprint: the fingerprint that versions up to 0.1 put into stores.
 *
 * It is a hash of all options that were set, as they were written. It identifies the sources of an
 * older store. The first worker that opens such a store replaces the old fingerprints. Remove this
 * file, and everything named legacy, in January 2028, when no supported version is older than this
 * change.
 */
#ifndef CONFIG_LEGACY_FINGERPRINT_H
#define CONFIG_LEGACY_FINGERPRINT_H

#include "base/digest.h"
#include "config/option.h"

/* kind: the name of the source's type. digest: scratch space, borrowed. */
int legacy_fingerprint(const struct options *options, const char *kind, struct digest *digest,
		       uint64_t *ret, struct err *err);

#endif
