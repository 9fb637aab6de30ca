/*
 * show: printing the configuration in effect, and the list of options.
 */
#ifndef CONFIG_SHOW_H
#define CONFIG_SHOW_H

#include <stdio.h>

#include "config/config.h"

/* Writes all values, with secrets masked, as a configuration file. Loading it gives the same
 * configuration, except for the secrets. */
void config_show(const struct config *config, FILE *out);

/* Writes a line for each option that -o accepts: name, help, default. For --help. */
void config_show_help(FILE *out);

/* Writes a line for each option of each table, for programs: the table ("root", "term", or the name
 * of a type), name, type, role and default, separated by tabs; "-" for none. */
void config_show_tables(const struct source_type *const *types, FILE *out);

#endif
