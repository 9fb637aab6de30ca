/*
 * notifier: a process that writes notifications to the device.
 *
 * A notification may wait, unkillably, for the lock of a directory or for an inode that is being
 * evicted. Readers hold these until their requests are answered. If a thread of the worker waited
 * like this, a dying worker could not exit and would keep the lock of its store. But only its
 * successor can answer those requests: a deadlock. So a separate process writes the notifications,
 * and the worker's thread only waits for its answer and can be killed at any time. A write that the
 * notifier has begun ends once the successor serves. That is harmless, because a notification names
 * its node.
 *
 * It is forked from the worker before the worker is confined or has threads. It exits when the
 * worker has ended. All that it can do is read orders and write notifications.
 */
#ifndef MOUNT_CONNECTION_NOTIFIER_H
#define MOUNT_CONNECTION_NOTIFIER_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/util.h"

struct notifier;

/* Forks. Call it while the process has one thread and little memory, which the notifier copies. */
int notifier_new(struct notifier **ret, struct err *err);
/* NULL is allowed. No write may be in progress. */
void notifier_free(struct notifier *notifier);

DEFINE_CLEANUP(struct notifier, notifier_free)

/* Sends the notifier a duplicate of the device. Call this once. */
int notifier_give_device(struct notifier *notifier, int device, struct err *err);

/* A buffer of NOTIFIER_DATA_MAX bytes, shared with the notifier. Data in it is not copied if it is
 * the last element of a write. For the thread that writes. */
#define NOTIFIER_DATA_MAX (1024 * 1024)
char *notifier_data(struct notifier *notifier);

/* Like writev(2) of one notification to the device, from one thread at a time. If the notifier has
 * died, this is logged and the calling thread writes the notification. A notification has at most
 * NOTIFIER_HEAD_MAX bytes, not counting data in notifier_data(). */
#define NOTIFIER_HEAD_MAX 4096
ssize_t notifier_writev(struct notifier *notifier, int device, const struct iovec *iov, int count);

#endif
