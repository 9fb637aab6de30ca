/*
 * session: one request to a running mount and the lines of its answer.
 *
 * The socket is found through the xattr user.rpt.control of the mount's root. src/control/control.h
 * says what is spoken there.
 */
#ifndef RPT_SESSION_H
#define RPT_SESSION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/util.h"

/* How long an answer that nothing has to be waited for may take. */
#define SESSION_ANSWER_S 30

DEFINE_CLEANUP(json_t, json_decref)

struct session;

/* Connects. The message is complete: it says what is wrong with `mount` and what to do about it. */
int session_new(struct session **ret, const char *mount, struct err *err);
void session_free(struct session *session);
DEFINE_CLEANUP(struct session, session_free)

/* The term that `text` means: a name or alias as it is; of a path below the mount (starting with
 * '/' or '.') what is behind the mount. ERR_CONFIG for another path. *ret is the caller's. */
int session_term(const char *mount, const char *text, char **ret, struct err *err);

/* Sends the request. waits: lines of the answer may take for ever. */
int session_send(struct session *session, const json_t *request, bool waits, struct err *err);

enum session_result {
	SESSION_LINE,	 /* *ret_line and *ret_object are set */
	SESSION_END,	 /* the connection was closed */
	SESSION_REFUSED, /* rptfs said no: *err holds its message, *ret_line the line */
	SESSION_FAILED,	 /* *err says why */
};

/* The next line, with its end, and what it means. Both belong to the caller. */
enum session_result session_next(struct session *session, char **ret_line, json_t **ret_object,
				 struct err *err);

#endif
