/*
 * image: the configuration in effect, for the worker and the helper.
 *
 * The command writes the image into a memfd and seals it. Readers map it: strings are not copied,
 * and nothing is parsed again. An image lists its options by name, so that another build of rptfs
 * can read it: after an upgrade, the new program compares the new configuration with the old one. A
 * reader ignores unknown options, and uses the defaults of options that the image lacks.
 *
 * A reader checks everything that it reads: a corrupt image causes an error, not a crash.
 */
#ifndef CONFIG_IMAGE_H
#define CONFIG_IMAGE_H

#include "config/config.h"

/* Writes the image at the beginning of the empty file. */
int config_image_write(const struct config *config, int fd, struct err *err);

/* Returns whether the file begins like an image, of any version. */
bool config_image_is(int fd);

/* The sources have no states yet: see config_init_sources(). types: NULL-terminated. The contents
 * of the file must not change any more. fd can be closed afterwards. ERR_BAD_DATA if it is not an
 * image that this program can read. */
int config_image_read(struct config **ret, int fd, const struct source_type *const *types,
		      struct err *err);

#endif
