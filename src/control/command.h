/*
 * command: the table of what can be asked over the control socket.
 *
 * A new command is a function and a row. The function reads its own members of the request with
 * json_unpack_ex(…, JSON_STRICT, …), so that a misspelt one is refused and not ignored.
 */
#ifndef CONTROL_COMMAND_H
#define CONTROL_COMMAND_H

#include <sys/types.h>

#include "control/conn.h"
#include "control/control.h"
#include "control/names.h"

/* One request and what is needed to answer it; all borrowed. */
struct exchange {
	const struct control_view *view;
	const struct names *names;
	struct conn *conn;
	uid_t peer;
	uid_t owner;
};

/* Root and the owner may do what changes something. */
bool command_is_owner(const struct exchange *exchange);

/* Answers the request in `line`. Whatever went wrong is in *err, for the caller to tell the peer.
 */
int command_run(const struct exchange *exchange, const char *line, size_t len, struct err *err);

/* Writes {"error": …} as one line. */
void command_write_error(FILE *out, const struct err *err);

#endif
