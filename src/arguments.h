/*
 * arguments: the command line of rptfs, and the one that its worker gets.
 */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <stdbool.h>

#include "daemon/keeper.h"

struct arguments {
	char *file;		   /* owned; absolute; NULL: none */
	char *mountpoint;	   /* owned; absolute; NULL: the file's */
	const char **terms;	   /* NAME=URL, NULL-terminated; the array is owned */
	char **options;		   /* of -o, one by one, NULL-terminated; owned */
	const char **option_texts; /* of -o, as given, NULL-terminated; the array is owned */
	bool foreground;
	bool debug;
	bool check_config;
	bool show_config;
	bool help;
	bool version;
	int channel; /* of a worker to its keeper; -1: this is no worker */
};

/* Writes what is wrong to standard error and returns -1. */
int arguments_parse(struct arguments *ret, int argc, char **argv);
void arguments_release(struct arguments *arguments);
void arguments_usage(void);

/*
 * The command line of the worker: the same, with paths made absolute. channel_argument (at least
 * KEEPER_CHANNEL_SIZE bytes) becomes the value of its --worker option. NULL-terminated, malloc'ed;
 * the elements are borrowed. NULL when memory is short.
 */
char **arguments_for_worker(const struct arguments *arguments, char *channel_argument);

#endif
