/*
 * cancel: cancellation of blocking work.
 *
 * The worker has one such object, and a request is final. Code that waits also polls cancel.fd;
 * code that loops calls cancel_requested().
 */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

struct cancel {
	int fd; /* owned; an eventfd; readable for ever after the request */
	atomic_bool requested;
};

int cancel_init(struct cancel *cancel, struct err *err);
void cancel_release(struct cancel *cancel);

/* Async-signal-safe; from any thread, any number of times. */
void cancel_request(struct cancel *cancel);

static inline bool cancel_requested(struct cancel *cancel)
{
	return atomic_load_explicit(&cancel->requested, memory_order_acquire);
}

#endif
