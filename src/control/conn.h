/*
 * conn: one connection to the control socket, with limits on time and memory.
 *
 * The peer is not trusted: it may send garbage, nothing or too much, read slowly or not at all, or
 * hang up. No call blocks longer than the limits below, and all calls end when cancellation is
 * requested. A connection is used by one thread.
 */
#ifndef CONTROL_CONN_H
#define CONTROL_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cancel.h"
#include "base/err.h"
#include "base/util.h"

/* Limit for the whole request to arrive. */
#define CONN_REQUEST_MS 5000
/* Limit for the peer to read each CONN_BUFFER_SIZE bytes of the answer. */
#define CONN_SEND_MS	 5000
#define CONN_BUFFER_SIZE (64 * 1024)

struct conn {
	int fd;		       /* owned; not -1 */
	struct cancel *cancel; /* borrowed */
	FILE *out;	       /* owned; for answers; fails for good once the peer is gone */
	bool broken;	       /* the peer has hung up or does not read */
	char buffer[CONN_BUFFER_SIZE]; /* of out */
};

/* Takes ownership of fd, also on failure. */
int conn_new(struct conn **ret, int fd, struct cancel *cancel, struct err *err);
/* Sends the rest of the buffer and closes the connection. */
void conn_free(struct conn *conn);
DEFINE_CLEANUP(struct conn, conn_free)

/* Reads a line; *ret does not include its end, and belongs to the caller. ERR_BAD_DATA after
 * max_bytes without a newline, if the peer closes its sending side before one, or after
 * CONN_REQUEST_MS. */
int conn_read_line(struct conn *conn, size_t max_bytes, char **ret, size_t *ret_len,
		   struct err *err);

/* Sends the buffer. ERR_CANCELED if the peer does not read it. */
int conn_flush(struct conn *conn, struct err *err);

/* Sends a line over a connection that has no struct conn, without blocking: a line fits into an
 * empty socket buffer. If the peer has hung up, it is lost. */
void conn_send_line(int fd, const char *line);

/* Returns whether the peer has hung up. (Closing only its sending side does not count.) */
bool conn_is_gone(struct conn *conn);

#endif
