/*
 * status: everything there is to say about terms, as one JSON document.
 *
 * Written term by term, so that ten thousand of them do not become one tree in memory. What is said
 * of one term are two copies taken one after the other (snapshot, then status): while a new version
 * is being published they may be a moment apart.
 */
#ifndef CONTROL_STATUS_H
#define CONTROL_STATUS_H

#include <stdio.h>

#include "control/control.h"

/* Which terms, by their index. */
struct status_selection {
	const size_t *indexes; /* borrowed; NULL: all */
	size_t n;
};

/* separator stands between the terms: "," or ",\n". Fails when memory is short, not when `out`
 * does. */
int status_write(FILE *out, const struct control_view *view,
		 const struct status_selection *selection, const char *separator, struct err *err);

#endif
