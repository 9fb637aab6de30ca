/*
 * conn: one connection to the control socket, bounded in time and memory.
 *
 * The peer is anybody: it may send garbage, nothing, or too much, read slowly or not at all, or
 * vanish. Nothing here waits longer than the limits below, and everything ends when cancellation is
 * requested. Used by one thread.
 */
#ifndef CONTROL_CONN_H
#define CONTROL_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cancel.h"
#include "base/err.h"
#include "base/util.h"

/* The whole request has to be here within this time. */
#define CONN_REQUEST_MS 5000
/* The peer has to take each CONN_BUFFER_SIZE bytes of the answer within this time. */
#define CONN_SEND_MS	 5000
#define CONN_BUFFER_SIZE (64 * 1024)

struct conn {
	int fd;		       /* owned; not -1 */
	struct cancel *cancel; /* borrowed */
	FILE *out;	       /* owned; answers go here; fails for good once the peer is gone */
	bool broken;	       /* the peer is gone, or does not read */
	char buffer[CONN_BUFFER_SIZE]; /* of out */
};

/* Takes fd, also on failure. */
int conn_new(struct conn **ret, int fd, struct cancel *cancel, struct err *err);
/* Sends what is left in the buffer, and hangs up. */
void conn_free(struct conn *conn);
DEFINE_CLEANUP(struct conn, conn_free)

/* Reads up to the first end of line, which is not part of the result. ERR_BAD_DATA when more than
 * max_bytes come before it, when the peer stops half-way, or after CONN_REQUEST_MS. *ret is the
 * caller's. */
int conn_read_line(struct conn *conn, size_t max_bytes, char **ret, size_t *ret_len,
		   struct err *err);

/* Sends what is buffered. ERR_CANCELED if the peer does not take it. */
int conn_flush(struct conn *conn, struct err *err);

/* Did the peer hang up? (One that only closed its sending side did not.) */
bool conn_is_gone(struct conn *conn);

#endif
