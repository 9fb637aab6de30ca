/*
 * ask: the commands of rpt: send the request, print the answer.
 *
 * Each command returns rpt's exit code, and prints errors to standard error.
 */
#ifndef RPT_ASK_H
#define RPT_ASK_H

#include <stdbool.h>
#include <stddef.h>

enum ask_exit {
	ASK_OK = 0,
	ASK_NO = 1,	 /* wrong usage, refused by the mount, or an update failed */
	ASK_TROUBLE = 2, /* no mount, no answer, or the answer could not be printed */
};

/* The command line; borrowed. */
struct ask {
	const char *mount;
	const char *const *terms; /* n_terms; all terms if 0 */
	size_t n_terms;
	bool json; /* print the answer's lines unchanged */
	bool wait;
	bool force;
};

enum ask_exit ask_status(const struct ask *ask);
enum ask_exit ask_refresh(const struct ask *ask);
enum ask_exit ask_upgrade(const struct ask *ask);

#endif
