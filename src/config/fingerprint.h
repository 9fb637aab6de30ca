/*
 * fingerprint: numbers that tell whether a source is still the source that it was.
 *
 * Only values count, not how they are written: 1m and 60s are equal, and so are a default that is
 * written out and one that is left out. The result is in the catalog of stores: it must not change
 * from one version of rptfs to the next while the options stay as they are.
 */
#ifndef CONFIG_FINGERPRINT_H
#define CONFIG_FINGERPRINT_H

#include "base/digest.h"
#include "config/source.h"

/* Sets the fingerprints of a source, whose type and options are set, but not the legacy one.
 * defaults: as options_defaults() returns them. digest is free for use. */
int fingerprint_source(struct source *source, const void *defaults, struct digest *digest,
		       struct err *err);

#endif
