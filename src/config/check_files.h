/*
 * check_files: do the files that a configuration names exist?
 *
 * They may be made after the check, so what is missing is a warning. Runs in the command with
 * --check-config, with the rights of its user.
 */
#ifndef CONFIG_CHECK_FILES_H
#define CONFIG_CHECK_FILES_H

#include <stdio.h>

#include "config/config.h"

/* Prints a line for each file that cannot be read, and for a mount point that is no directory. */
void config_check_files(const struct config *config, FILE *out);

#endif
