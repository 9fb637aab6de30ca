/*
 * status: the status of the mount and of all terms, as one JSON document.
 *
 * It is written term by term, so that the memory needed does not grow with their number. The
 * snapshot of a term is read before its status. While a new version is being published, the two may
 * not match.
 */
#ifndef CONTROL_STATUS_H
#define CONTROL_STATUS_H

#include <stdio.h>

#include "control/control.h"

/* Terms to write, by their index, as far as `access` includes them. */
struct status_selection {
	const struct term_access *access; /* borrowed */
	const size_t *indexes;		  /* borrowed; NULL: all */
	size_t n;
};

/* separator goes between terms: "," or ",\n". Fails only if out of memory; check `out` for write
 * errors. */
int status_write(FILE *out, const struct control_view *view,
		 const struct status_selection *selection, const char *separator, struct err *err);

#endif
