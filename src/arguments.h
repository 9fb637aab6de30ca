/*
 * arguments: the command line of rptfs, and those that its other processes get.
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
	int channel;  /* of a worker to its keeper; -1: this is no worker */
	int requests; /* the socket of a runner; -1: this is no runner */
};

/* Writes what is wrong to standard error and returns -1. */
int arguments_parse(struct arguments *ret, int argc, char **argv);
void arguments_release(struct arguments *arguments);
void arguments_usage(void);

/* What a process is told to be: its argv[0], and the option that names its descriptor. */
struct arguments_role {
	const char *name, *option;
};

extern const struct arguments_role arguments_worker, arguments_runner;

/*
 * The command line of that process: the same, with paths made absolute. descriptor (at least
 * KEEPER_DESCRIPTOR_SIZE bytes) becomes the value of the option. NULL-terminated, malloc'ed; the
 * elements are borrowed. NULL when memory is short.
 */
char **arguments_for(const struct arguments *arguments, const struct arguments_role *role,
		     char *descriptor);

#endif
