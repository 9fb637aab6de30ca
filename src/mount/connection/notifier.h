/*
 * notifier: a process that writes notifications to the device.
 *
 * A notification may wait unkillably for the lock of a directory, or for an inode that is being
 * evicted, which readers hold until their requests are answered. A thread of the worker in that
 * state would keep a dying worker, and the lock of its store, from going away, while only its
 * successor can answer those requests: a deadlock. So a process of its own writes, and the thread
 * of the worker only waits for its answer and can be killed at any time. What the notifier has
 * begun ends once the successor serves. That is harmless, because a notification names its node.
 *
 * It is forked from the worker before the worker is confined or has threads. It ends when the
 * worker has ended, and can do nothing but read what to write, and write it.
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

/* Sends the notifier a duplicate of the device. Once. */
int notifier_give_device(struct notifier *notifier, int device, struct err *err);

/* A buffer of NOTIFIER_DATA_MAX bytes, shared with the notifier. Data in it is not copied if it is
 * the last element of a write. For the thread that writes. */
#define NOTIFIER_DATA_MAX (1024 * 1024)
char *notifier_data(struct notifier *notifier);

/* As writev(2) of one notification to the device, from one thread at a time. If the notifier has
 * died, this is logged, and this thread writes itself. A notification has at most NOTIFIER_HEAD_MAX
 * bytes, not counting data in notifier_data(). */
#define NOTIFIER_HEAD_MAX 4096
ssize_t notifier_writev(struct notifier *notifier, int device, const struct iovec *iov, int count);

#endif
