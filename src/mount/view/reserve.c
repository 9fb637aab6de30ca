#include "mount/view/reserve.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/util.h"

/* For who has it at the moment; then a reader gets an error. */
#define PATIENCE_MS 1000
#define PAUSE_US    1000

struct reserve {
	pthread_mutex_t lock;
	int fd; /* owned; guarded by lock; -1: given up */
};

static int take_one(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

int reserve_new(struct reserve **ret, struct err *err)
{
	_cleanup_free_ struct reserve *reserve = calloc(1, sizeof(*reserve));

	if (!reserve || pthread_mutex_init(&reserve->lock, NULL) != 0)
		return err_set(err, ERR_INTERNAL, "descriptor in reserve: out of memory");
	/* If there is none now, the first read brings one. */
	reserve->fd = take_one();
	*ret = steal_ptr(&reserve);
	return 0;
}

void reserve_free(struct reserve *reserve)
{
	if (!reserve)
		return;
	close_cleanup(&reserve->fd);
	pthread_mutex_destroy(&reserve->lock);
	free(reserve);
}

static bool is_limit(int fd)
{
	return fd < 0 && (errno == EMFILE || errno == ENFILE);
}

int reserve_open(struct reserve *reserve, struct store *store, const struct snapshot *snapshot,
		 struct err *err)
{
	int fd = store_open_bytes(store, snapshot, err);
	int64_t end_ms = clock_boot_ms() + PATIENCE_MS;

	while (is_limit(fd) && clock_boot_ms() < end_ms) {
		pthread_mutex_lock(&reserve->lock);
		int given_up = steal_fd(&reserve->fd);
		pthread_mutex_unlock(&reserve->lock);
		close_cleanup(&given_up);
		fd = store_open_bytes(store, snapshot, err);
		if (is_limit(fd))
			usleep(PAUSE_US);
	}
	return fd;
}

void reserve_close(struct reserve *reserve, int fd)
{
	close_cleanup(&fd);
	pthread_mutex_lock(&reserve->lock);
	if (reserve->fd < 0)
		reserve->fd = take_one();
	pthread_mutex_unlock(&reserve->lock);
}
