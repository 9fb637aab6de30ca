/*
 * helper_reply: sending answers to the worker (helper_protocol.h).
 *
 * Runs in the opener and in the executor. From any thread; blocks while the socket is full.
 */
#ifndef HELPER_HELPER_REPLY_H
#define HELPER_HELPER_REPLY_H

#include <stddef.h>

#include "base/err.h"

/* At most HELPER_PACKET_MAX bytes, which are secret. Returns -1 if the worker no longer waits. */
int helper_reply_output(int reply, const void *output, size_t len);
/* fd stays the caller's; -1: none. */
void helper_reply_done(int reply, const void *result, size_t len, int fd);
void helper_reply_error(int reply, const struct err *err);

#endif
