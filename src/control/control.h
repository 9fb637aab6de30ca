/*
 * control: what people and machines may ask a running mount.
 *
 * A Unix socket, one request a connection: one line of JSON in, lines of JSON out.
 * status.c and metrics.c render the same facts for the socket and for .rpt/.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cancel.h"
#include "base/err.h"
#include "fetch/http.h"
#include "fetch/refresher.h"
#include "mount/fs.h"
#include "term/store.h"
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
};

/* Renderings for .rpt/; arg is the struct control_view. *ret is malloc'ed, the caller's. */
int status_render(void *arg, char **ret, size_t *ret_len, struct err *err);
int metrics_render(void *arg, char **ret, size_t *ret_len, struct err *err);

struct control;

/* Listens on `path` (an old socket there is replaced) and serves in threads of its own until
 * cancel. owner: besides root, who may give commands that change something. */
int control_new(struct control **ret, const struct control_view *view, const char *path,
		uid_t owner, struct cancel *cancel, struct err *err);
/* After cancellation: ends the threads, removes the socket. */
void control_free(struct control *control);

#endif
