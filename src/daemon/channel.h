/*
 * channel: what keeper and worker say to each other, over one socket pair.
 *
 *	worker                           keeper
 *	CHANNEL_PREPARED        ──────►            the store is open, the terms are loaded
 *	                        ◄──────  CHANNEL_DEVICE with the descriptor of the mounted device
 *	CHANNEL_READY           ──────►            mounted, and the first attempts are over
 *	CHANNEL_RUNNER          ──────►            start a runner that talks over the descriptor
 *that comes along (daemon/runner.h); any time, no answer
 *
 * The end of either process shows as end of file.
 */
#ifndef DAEMON_CHANNEL_H
#define DAEMON_CHANNEL_H

#include "base/err.h"

enum channel_message {
	CHANNEL_END, /* the other side is gone */
	CHANNEL_PREPARED = 'p',
	CHANNEL_DEVICE = 'd',
	CHANNEL_READY = 'r',
	CHANNEL_RUNNER = 'x',
};

/* A pair of sockets, both close-on-exec. */
int channel_new(int ret_fds[2], struct err *err);

/* fd_to_pass: -1 or a descriptor, which stays the caller's. Returns -1 if the other side is gone.
 */
int channel_send(int channel, enum channel_message message, int fd_to_pass);

/* Blocks for the next message; a descriptor that came with it is the caller's, else -1. */
enum channel_message channel_receive(int channel, int *ret_fd);

#endif
