/*
 * notifier: a process of its own that writes notifications to the device.
 *
 * A notification may wait, unkillably, for the lock of a directory or for an inode on its way out,
 * which readers hold until their requests are answered. A thread of the worker that waits so would
 * keep a dying worker from ending, with the lock of its store, while only its successor can answer
 * those requests: neither would ever go on. So the worker has a thread that waits for an answer of
 * the notifier, which can be killed at any time; what the notifier has begun ends by itself once
 * the successor serves, and does no harm, for a notification names the node that it means.
 *
 * It is forked from the worker before that is confined or has threads, ends when the worker has
 * ended, and can do nothing but read what to write, and write it.
 */
#ifndef MOUNT_CONNECTION_NOTIFIER_H
#define MOUNT_CONNECTION_NOTIFIER_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/util.h"

struct notifier;

/* Forks: the process has one thread, and little memory, which the notifier keeps a copy of. */
int notifier_new(struct notifier **ret, struct err *err);
/* NULL is allowed. No write may be under way. */
void notifier_free(struct notifier *notifier);

DEFINE_CLEANUP(struct notifier, notifier_free)

/* Once: what to write to; it gets a duplicate. */
int notifier_give_device(struct notifier *notifier, int device, struct err *err);

/* Where the data of a notification may stand, NOTIFIER_DATA_MAX bytes that the notifier sees as
 * well: as the last element of what is written, it is not copied. For the thread that writes. */
#define NOTIFIER_DATA_MAX (1024 * 1024)
char *notifier_data(struct notifier *notifier);

/* As writev(2) of one notification to the device (the same one), from one thread at a time. Should
 * the notifier have died, that is logged, and this thread writes itself. Without notifier_data() a
 * notification has NOTIFIER_HEAD_MAX bytes at most, with it so many before the data. */
#define NOTIFIER_HEAD_MAX 4096
ssize_t notifier_writev(struct notifier *notifier, int device, const struct iovec *iov, int count);

#endif
