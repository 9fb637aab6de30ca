/*
 * image: the configuration in effect, for the worker and the helper.
 *
 * The command writes the image into a memfd and seals it. Readers map it: strings are not copied,
 * and nothing is parsed again. An image says which options it has, by name, so that another build
 * of rptfs can read it: after an upgrade, the new program compares the new configuration with the
 * old one. Options that the reader does not know are ignored, and those that the image does not
 * have get their defaults.
 *
 * A reader checks everything that it reads: a corrupt image is an error, and nothing worse.
 */
#ifndef CONFIG_IMAGE_H
#define CONFIG_IMAGE_H

#include "config/config.h"

/* Writes the image at the beginning of the empty file. */
int config_image_write(const struct config *config, int fd, struct err *err);

/* Does the file begin like an image, of whatever version? */
bool config_image_is(int fd);

/* The sources have no states yet: see config_init_sources(). types: NULL-terminated. The contents
 * of the file must not change any more. fd can be closed afterwards. ERR_BAD_DATA if it is not an
 * image that this program can read. */
int config_image_read(struct config **ret, int fd, const struct source_type *const *types,
		      struct err *err);

#endif
