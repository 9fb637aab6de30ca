/*
 * legacy_fingerprint: the fingerprint that versions up to 0.1 put into stores.
 *
 * It is a hash of all options that were set, as they were written. A store from before is
 * recognised by it once, and its fingerprints are replaced when the first worker starts with it.
 * Remove this file, and what is called legacy elsewhere, in January 2028: no supported version
 * will be older than this change then.
 */
#ifndef CONFIG_LEGACY_FINGERPRINT_H
#define CONFIG_LEGACY_FINGERPRINT_H

#include "base/digest.h"
#include "config/option.h"

/* kind: the name of the source's type. digest is free for use. */
int legacy_fingerprint(const struct options *options, const char *kind, struct digest *digest,
		       uint64_t *ret, struct err *err);

#endif
