/*
 * show: the configuration in effect, for people.
 */
#ifndef CONFIG_SHOW_H
#define CONFIG_SHOW_H

#include <stdio.h>

#include "config/config.h"

/* Writes all values, with secrets masked, as a configuration file that loads to the same but for
 * them. */
void config_show(const struct config *config, FILE *out);

#endif
