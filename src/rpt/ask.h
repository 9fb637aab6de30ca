/*
 * ask: the commands of rpt, from the request to what people see.
 *
 * Each returns rpt's exit code. What goes wrong is said on standard error.
 */
#ifndef RPT_ASK_H
#define RPT_ASK_H

#include <stdbool.h>
#include <stddef.h>

enum ask_exit {
	ASK_OK = 0,
	ASK_NO = 1,	 /* wrong usage; or the mount answered: refused, or an attempt failed */
	ASK_TROUBLE = 2, /* the mount could not be asked, or the answer not be had */
};

/* What the command line says; borrowed. */
struct ask {
	const char *mount;
	const char *const *terms; /* n_terms of them; none: all */
	size_t n_terms;
	bool json; /* the answer's lines as they are */
	bool wait;
};

enum ask_exit ask_status(const struct ask *ask);
enum ask_exit ask_refresh(const struct ask *ask);
enum ask_exit ask_upgrade(const struct ask *ask);

#endif
