/*
 * check_named: do the files and the user that a configuration names exist?
 *
 * They may be made after the check, so what is missing is a warning. Runs in the command with
 * --check-config, with the rights of its user.
 */
#ifndef CONFIG_CHECK_NAMED_H
#define CONFIG_CHECK_NAMED_H

#include <stdio.h>

#include "config/config.h"

/* Prints a line for each file that cannot be read, for a mount point that is no directory, and for
 * a user that does not exist. */
void config_check_named(const struct config *config, FILE *out);

#endif
