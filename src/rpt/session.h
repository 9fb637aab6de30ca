/*
 * session: one request to a running mount and the lines of its answer.
 *
 * The xattr user.rpt.control of the mount's root holds the path of the socket. control/control.h
 * describes the protocol. Anybody may make a mount, so the answer of a mount that belongs neither
 * to root nor to this user is limited in length.
 */
#ifndef RPT_SESSION_H
#define RPT_SESSION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/util.h"

/* Limit for an answer that does not depend on a source. */
#define SESSION_ANSWER_S 30

DEFINE_CLEANUP(json_t, json_decref)

struct session;

/* Connects. The error message names the mount. */
int session_new(struct session **ret, const char *mount, struct err *err);
void session_free(struct session *session);
DEFINE_CLEANUP(struct session, session_free)

/* Converts an argument to a term: a text that begins with '/' or '.' is a path below the mount, any
 * other text is a name or alias. ERR_CONFIG if the path is not below the mount. The caller frees
 * *ret. */
int session_term(const char *mount, const char *text, char **ret, struct err *err);

/* Sends the request. waits: the answer may take any time. */
int session_send(struct session *session, const json_t *request, bool waits, struct err *err);

enum session_result {
	SESSION_LINE,	 /* *ret_line and *ret_object are set */
	SESSION_END,	 /* the connection was closed */
	SESSION_REFUSED, /* rptfs refused: *err has its message, *ret_line the line */
	SESSION_FAILED,	 /* *err is set */
};

/* Reads the next line, including its newline, and parses it. The caller owns both. */
enum session_result session_next(struct session *session, char **ret_line, json_t **ret_object,
				 struct err *err);

#endif
