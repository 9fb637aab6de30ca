#include "base/cancel.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>

#include "base/util.h"

int cancel_init(struct cancel *cancel, struct err *err)
{
	atomic_init(&cancel->requested, false);
	cancel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (cancel->fd < 0)
		return err_errno(err, "eventfd");
	return 0;
}

void cancel_release(struct cancel *cancel)
{
	close_cleanup(&cancel->fd);
	cancel->fd = -1;
}

void cancel_request(struct cancel *cancel)
{
	int saved = errno;

	atomic_store_explicit(&cancel->requested, true, memory_order_release);
	if (eventfd_write(cancel->fd, 1) < 0) {
		/* EAGAIN: the counter is full, so the descriptor is readable already. */
	}
	errno = saved;
}
