/*
 * pass_fds: messages that carry file descriptors over a Unix socket (SCM_RIGHTS).
 *
 * Allocates nothing and may be used between fork and exec. From any thread.
 */
#ifndef BASE_PASS_FDS_H
#define BASE_PASS_FDS_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Descriptors in one message. */
#define PASS_FDS_MAX 8

/* A connected pair of SOCK_SEQPACKET sockets, both close-on-exec. */
int pass_fds_pair(int ret_sockets[2], struct err *err);

/* Sends one message. The descriptors stay the caller's; those that are negative at the end of the
 * list are left out. flags: as of send(2), MSG_NOSIGNAL is added. Returns the bytes sent, or -1
 * with errno. */
ssize_t pass_fds_send(int socket, const void *data, size_t len, const int *fds, size_t n_fds,
		      int flags);

/*
 * Receives one message. ret_fds gets n_fds descriptors, which the caller owns and which are
 * close-on-exec, or -1 where none came. A message with more than n_fds descriptors, or with more
 * than this process may open, arrives without any. flags: as of recv(2). Returns the bytes
 * received, 0 at the end of the connection, or -1 with errno.
 */
ssize_t pass_fds_receive(int socket, void *ret_data, size_t size, int *ret_fds, size_t n_fds,
			 int flags);

#endif
