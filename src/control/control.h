/*
 * control: the control socket, status and metrics of a running mount.
 *
 * A Unix socket, one request per connection. The request is one line, a JSON object:
 *
 *	{"command": "status", "terms": ["flags.json", "geo"]}
 *	{"command": "refresh", "terms": ["flags.json"], "wait": true, "force": true}
 *
 * "terms" holds names or aliases; without it the command applies to all terms. A term that the peer
 * may not read does not exist for it. The answer is one or more lines, each a JSON object, and then
 * the connection is closed:
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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/budget.h"
#include "base/build.h"
#include "base/cancel.h"
#include "base/err.h"
#include "http/http.h"
#include "fetch/refresher.h"
#include "mount/view/fs.h"
#include "store/store.h"
#include "term/term.h"
#include "term/term_rights.h"

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
	const struct term_rights *rights;

	pid_t keeper;
	const char *_Atomic keeper_version; /* changes with an upgrade */
	unsigned restarts;		    /* workers of this mount that died */

	/* Starts an upgrade. On success the callee owns the connection, and one of the two
	 * functions below answers over it; on failure it stays the caller's. */
	int (*upgrade)(void *arg, int connection, struct err *err);
	void *upgrade_arg;
};

/* The contents of .rpt/status.json and .rpt/metrics, with the terms that `access` includes. The
 * caller frees *ret. */
int status_render(const struct control_view *view, const struct term_access *access, char **ret,
		  size_t *ret_len, struct err *err);
int metrics_render(const struct control_view *view, const struct term_access *access, char **ret,
		   size_t *ret_len, struct err *err);

struct control;

struct control_setup {
	const struct control_view *view; /* borrowed */
	int listener;			 /* borrowed; keeper/control_socket.h */
	bool allow_other;		 /* others than root and the owner may connect */
	struct budget *budget;		 /* borrowed; of those others */
	struct cancel *cancel;		 /* borrowed */
};

/* Serves the listening socket in threads of its own until cancellation. A peer is told about the
 * terms that it may read; only root and the owner may use commands that change something. */
int control_new(struct control **ret, const struct control_setup *setup, struct err *err);
/* Call after requesting cancellation. Waits for the threads to end. */
void control_free(struct control *control);

/* Answer a request over its connection, which stays the caller's, without blocking: "upgrade" with
 * the versions that run now and the previous one, and any request with the reason why it fails. */
void control_report_upgrade(int connection, const struct control_view *view, const char *previous);
void control_refuse(int connection, enum err_kind kind, const char *reason);

#endif
