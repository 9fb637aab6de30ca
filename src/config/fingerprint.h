/*
 * fingerprint: hashes of the options of a source. If they change, it is another source.
 *
 * They depend on values, not on spelling: 1m and 60s are equal, and a default that is written out
 * is equal to one that is left out. Stores keep fingerprints in their catalogs, so every version of
 * rptfs must compute the same ones from the same options.
 */
#ifndef CONFIG_FINGERPRINT_H
#define CONFIG_FINGERPRINT_H

#include "base/digest.h"
#include "config/source.h"

/* Sets the fingerprints of a source, whose type and options are set, but not the legacy one.
 * defaults: as options_defaults() returns them. digest: scratch space, borrowed. */
int fingerprint_source(struct source *source, const void *defaults, struct digest *digest,
		       struct err *err);

#endif
