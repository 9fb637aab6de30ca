/*
 * show: the configuration in effect, and the options that there are.
 */
#ifndef CONFIG_SHOW_H
#define CONFIG_SHOW_H

#include <stdio.h>

#include "config/config.h"

/* Writes all values, with secrets masked, as a configuration file that loads to the same but for
 * them. */
void config_show(const struct config *config, FILE *out);

/* Writes a line for each option that -o accepts: name, help, default. For --help. */
void config_show_help(FILE *out);

/* Writes a line for each option of each table, for programs: the table ("root", "term", or the name
 * of a type), name, type, role and default, separated by tabs; "-" for none. */
void config_show_tables(const struct source_type *const *types, FILE *out);

#endif
