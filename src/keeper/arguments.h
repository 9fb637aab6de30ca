/*
 * arguments: the command lines of rptfs and of its other processes.
 *
 * Runs in each of the processes, with the rights of the user who started rptfs; in the worker,
 * unprivileged.
 */
#ifndef KEEPER_ARGUMENTS_H
#define KEEPER_ARGUMENTS_H

#include <stdbool.h>

#include "keeper/keeper.h"

/* The role of this process. The comments name the descriptors that it inherits. */
enum arguments_role {
	ROLE_COMMAND,  /* the program that users start */
	ROLE_KEEPER,   /* after an upgrade: the state of the previous keeper */
	ROLE_RENDER,   /* in an upgrade: a memfd for the new configuration; the old one */
	ROLE_WORKER,   /* the channel to the keeper */
	ROLE_HELPER,   /* the socket of requests; the configuration */
	ROLE_EXECUTOR, /* likewise */
	ROLE_INIT,     /* the pipe that the worker holds; keeper/pid_namespace.h */
	ROLE_VISITOR,  /* the socket of requests; a handle of the mount, or -1 */
	ROLE_OFFER,    /* in the unit, before the command: none; keeper/machine_namespace.h */
};

struct arguments {
	char *file;		   /* owned; absolute; NULL: none */
	char *mountpoint;	   /* owned; absolute; NULL: the file's */
	const char **terms;	   /* NAME=URL, NULL-terminated; the array is owned */
	char *term_texts;	   /* owned, locked memory; the elements of terms */
	char *passed_terms;	   /* owned, locked memory; for arguments_pass_terms() */
	char **options;		   /* of -o, one by one, NULL-terminated; owned */
	const char **option_texts; /* of -o, as given, NULL-terminated; the array is owned */
	bool foreground;
	bool debug;
	bool check_config;
	const char *credentials_directory; /* borrowed; NULL: that of the environment */
	bool show_config;
	bool list_options; /* for shell completion and tests */
	bool help;
	bool version;
	enum arguments_role role;
	int descriptors[2]; /* inherited, in roles other than the command; see above */
};

/* On failure writes a message to standard error and returns -1. */
int arguments_parse(struct arguments *ret, int argc, char **argv);
void arguments_release(struct arguments *arguments);
void arguments_usage(void);

/* The variable of the environment that passes the terms. */
#define ARGUMENTS_TERMS "RPTFS_TERMS"

/* Lets the processes that this one starts take the terms from their environment, which only the
 * same user can read; anybody can read a command line. */
void arguments_pass_terms(const struct arguments *arguments);

/*
 * Returns the command line of a process in that role, derived from the arguments of the command.
 * descriptors (at least KEEPER_DESCRIPTORS_SIZE bytes) becomes the value of the role's option. A
 * role that loads the configuration gets all arguments that affect it, with absolute paths, but not
 * the terms. The result is NULL-terminated and malloc'ed; its elements are borrowed. NULL if out of
 * memory.
 */
char **arguments_for(const struct arguments *arguments, enum arguments_role role,
		     char *descriptors);

#endif
