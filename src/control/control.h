/*
 * control: what people and machines may ask a running mount.
 *
 * A Unix socket, one request a connection. In comes one line, a JSON object:
 *
 *	{"command": "status", "terms": ["flags.json", "geo"]}
 *	{"command": "refresh", "terms": ["flags.json"], "wait": true}
 *
 * "terms" holds names or aliases; without it all terms are meant. Out come lines, each a JSON
 * object, and then the connection is closed:
 *
 *	status	 one line, the same document as .rpt/status.json (which has a line a term)
 *	refresh	 {"requested": 1}, as soon as the attempts are asked for; with "wait", then a line a
 *		 term in the order asked for, as its attempt ends:
 *		 {"name": …, "outcome": "updated", "version": …, "last_error": null}
 *	upgrade	 {"previous": "0.1.0 (…)", "worker": {"version": "0.2.0 (…)", "pid": …},
 *		 "keeper": {…}}, from the worker that serves now
 *
 * What went wrong with the request as a whole is the last line:
 * {"error": {"kind": "denied", "message": …}}, with the kinds of base/err.h.
 *
 * status.c and metrics.c render the same facts for the socket and for .rpt/.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/build.h"
#include "base/cancel.h"
#include "base/err.h"
#include "http/http.h"
#include "fetch/refresher.h"
#include "mount/view/fs.h"
#include "store/store.h"
#include "term/term.h"

/* What there is to tell. All borrowed; refresher and fs are set before the server starts. */
struct control_view {
	const char *mountpoint;
	struct term *terms; /* sorted by name */
	size_t n_terms;
	struct store *store;
	struct refresher *refresher;
	struct fs *fs;
	struct http *http;
	int64_t started_at_ms; /* wall clock */

	/* Of the other process. */
	pid_t keeper;
	const char *_Atomic keeper_version; /* another one after an upgrade */
	unsigned restarts;		    /* workers that died, on this mount */

	/* Takes over the connection (the callee's) and has it answered by one of the two functions
	 * below. -1 if that cannot even be tried; the connection then stays the caller's. */
	int (*upgrade)(void *arg, int connection, struct err *err);
	void *upgrade_arg;
};

/* Renderings for .rpt/; arg is the struct control_view. *ret is malloc'ed, the caller's. */
int status_render(void *arg, char **ret, size_t *ret_len, struct err *err);
int metrics_render(void *arg, char **ret, size_t *ret_len, struct err *err);

struct control;

/*
 * Serves a listening socket (keeper/control_socket.h; borrowed) in threads of its own until cancel.
 * Everybody who can reach the socket may look; root and `owner` may also give commands that change
 * something. view and cancel are borrowed.
 */
int control_new(struct control **ret, const struct control_view *view, int listener, uid_t owner,
		struct cancel *cancel, struct err *err);
/* After cancellation: ends the threads. */
void control_free(struct control *control);

/* The answer to "upgrade", over its connection (which stays the caller's): what runs now, and the
 * version that it came from; or why there is no upgrade. */
void control_report_upgrade(int connection, const struct control_view *view, const char *previous);
void control_refuse_upgrade(int connection, const char *reason);

#endif
