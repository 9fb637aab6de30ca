#include "mount/view/spare_fd.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/util.h"

/* How long a READ waits for the spare descriptor before it fails with EIO. */
#define PATIENCE_MS 1000
#define PAUSE_US    1000

struct spare_fd {
	pthread_mutex_t lock;
	int fd; /* owned; guarded by lock; -1: given up */
};

static int take_one(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

int spare_fd_new(struct spare_fd **ret, struct err *err)
{
	_cleanup_free_ struct spare_fd *spare_fd = calloc(1, sizeof(*spare_fd));

	if (!spare_fd || pthread_mutex_init(&spare_fd->lock, NULL) != 0)
		return err_set(err, ERR_INTERNAL, "spare descriptor: out of memory");
	/* If this fails, the first read gets another one. */
	spare_fd->fd = take_one();
	*ret = steal_ptr(&spare_fd);
	return 0;
}

void spare_fd_free(struct spare_fd *spare_fd)
{
	if (!spare_fd)
		return;
	close_cleanup(&spare_fd->fd);
	pthread_mutex_destroy(&spare_fd->lock);
	free(spare_fd);
}

static bool is_limit(int fd)
{
	return fd < 0 && (errno == EMFILE || errno == ENFILE);
}

int spare_fd_open(struct spare_fd *spare_fd, struct store *store, const struct snapshot *snapshot,
		  struct err *err)
{
	int fd = store_open_bytes(store, snapshot, err);
	int64_t end_ms = clock_boot_ms() + PATIENCE_MS;

	while (is_limit(fd) && clock_boot_ms() < end_ms) {
		pthread_mutex_lock(&spare_fd->lock);
		int given_up = steal_fd(&spare_fd->fd);
		pthread_mutex_unlock(&spare_fd->lock);
		close_cleanup(&given_up);
		fd = store_open_bytes(store, snapshot, err);
		if (is_limit(fd))
			usleep(PAUSE_US);
	}
	return fd;
}

void spare_fd_close(struct spare_fd *spare_fd, int fd)
{
	close_cleanup(&fd);
	pthread_mutex_lock(&spare_fd->lock);
	if (spare_fd->fd < 0)
		spare_fd->fd = take_one();
	pthread_mutex_unlock(&spare_fd->lock);
}
