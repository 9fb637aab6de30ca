/*
 * control: the control socket, status and metrics of a running mount.
 *
 * A Unix socket, one request per connection. The request is one line, a JSON object:
 *
 *	{"command": "status", "terms": ["flags.json", "geo"]}
 *	{"command": "refresh", "terms": ["flags.json"], "wait": true, "force": true}
 *
 * "terms" holds names or aliases; without it the command applies to all terms. The answer is one
 * or more lines, each a JSON object, and then the connection is closed:
 *
 *	status	 one line, the same document as .rpt/status.json (which has one line per term)
 *	refresh	 {"requested": 1}, as soon as the updates are requested; with "wait", one more line
 *		 per term, in the order of the request, as its update ends:
 *		 {"name": …, "outcome": "updated", "version": …, "last_error": null}
 *	upgrade	 {"previous": "0.1.0 (…)", "worker": {"version": "0.2.0 (…)", "pid": …},
 *		 "keeper": {…}}, from the new worker
 *
 * If the request as a whole fails, the last line is
 * {"error": {"kind": "denied", "message": …}}, with the kinds of base/err.h.
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

/* The parts of the mount that are reported. All borrowed; refresher and fs are set before the
 * server starts. */
struct control_view {
	const char *mountpoint;
	struct term *terms; /* sorted by name */
	size_t n_terms;
	struct store *store;
	struct refresher *refresher;
	struct fs *fs;
	struct http *http;
	int64_t started_at_ms; /* wall clock */

	pid_t keeper;
	const char *_Atomic keeper_version; /* changes with an upgrade */
	unsigned restarts;		    /* workers of this mount that died */

	/* Starts an upgrade. On success the callee owns the connection, and one of the two
	 * functions below answers over it; on failure it stays the caller's. */
	int (*upgrade)(void *arg, int connection, struct err *err);
	void *upgrade_arg;
};

/* The contents of .rpt/status.json and .rpt/metrics. arg is the struct control_view. The caller
 * frees *ret. */
int status_render(void *arg, char **ret, size_t *ret_len, struct err *err);
int metrics_render(void *arg, char **ret, size_t *ret_len, struct err *err);

struct control;

/* Serves a listening socket (keeper/control_socket.h; borrowed) in threads of its own until
 * cancellation. Any peer may read the status; only root and `owner` may use commands that change
 * something. view and cancel are borrowed. */
int control_new(struct control **ret, const struct control_view *view, int listener, uid_t owner,
		struct cancel *cancel, struct err *err);
/* Call after requesting cancellation. Waits for the threads to end. */
void control_free(struct control *control);

/* Answer "upgrade" over its connection, which stays the caller's: with the versions that run now
 * and the previous one, or with the reason why there is no upgrade. */
void control_report_upgrade(int connection, const struct control_view *view, const char *previous);
void control_refuse_upgrade(int connection, const char *reason);

#endif
