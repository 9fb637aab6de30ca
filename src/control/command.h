/*
 * command: the commands of the control socket.
 *
 * A command is a function and a row of the table in command.c. The function reads its members of
 * the request with json_unpack_ex(…, JSON_STRICT, …), which refuses unknown ones.
 */
#ifndef CONTROL_COMMAND_H
#define CONTROL_COMMAND_H

#include <stdbool.h>
#include <sys/types.h>

#include "control/conn.h"
#include "control/control.h"
#include "control/term_index.h"

/* One request, and the means to answer it; all borrowed. */
struct exchange {
	const struct control_view *view;
	const struct term_index *index;
	struct conn *conn;
	uid_t peer;
	struct term_access access; /* of the peer */
};

/* Answers the request in `line`. On failure the caller sends *err to the peer. */
int command_run(const struct exchange *exchange, const char *line, size_t len, struct err *err);

/* Writes {"error": …} as one line. */
void command_write_error(FILE *out, const struct err *err);

#endif
