/*
 * Opening and closing a store, its lock, and the way to its files.
 */
#include "store/store.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/store_internal.h"

DEFINE_CLEANUP(struct store, store_close)

#define LOCK_PATIENCE_MS 2000

static int say_who_locks(struct store *store, struct err *err)
{
	char text[24] = "";
	ssize_t n = pread(store->lock_fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid > 0)
		return err_set(err, ERR_CONFIG, "store %s is used by process %ld", store->dir, pid);
	return err_set(err, ERR_CONFIG, "store %s is used by another process", store->dir);
}

/* A predecessor that was killed a moment ago may still be ending: it is given a little time. */
static int take_lock(int fd)
{
	int64_t end_ms = clock_boot_ms() + LOCK_PATIENCE_MS;
	int result;

	while ((result = flock(fd, LOCK_EX | LOCK_NB)) < 0 &&
	       (errno == EWOULDBLOCK || errno == EINTR) && clock_boot_ms() < end_ms)
		usleep(10 * 1000);
	return result;
}

static int lock_store(struct store *store, struct err *err)
{
	char pid[24];

	store->lock_fd = openat(store->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
				0600);
	if (store->lock_fd < 0)
		return err_errno(err, "store %s: lock", store->dir);
	if (take_lock(store->lock_fd) < 0)
		return errno == EWOULDBLOCK ? say_who_locks(store, err)
					    : err_errno(err, "store %s: lock", store->dir);
	int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	/* For people only: a full disk is no reason not to start. */
	if (ftruncate(store->lock_fd, 0) < 0 || pwrite(store->lock_fd, pid, (size_t)len, 0) < 0)
		log_event(LOG_LEVEL_WARNING, "lock_without_pid", LOG_STR("store", store->dir),
			  LOG_STR("error", strerror(errno)));
	return 0;
}

static struct store *store_allocate(const struct store_setup *setup)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	store->dir_fd = store->lock_fd = store->snapshots_fd = -1;
	store->queue_end = &store->queue;
	store->in_memory = setup->in_memory;
	store->dir = strdup(setup->dir);
	if (!store->dir || pthread_mutex_init(&store->lock, NULL) != 0) {
		free(store->dir);
		free(store);
		return NULL;
	}
	return store;
}

static int open_snapshots(struct store *store, struct err *err)
{
	close_cleanup(&store->snapshots_fd);
	if (mkdirat(store->dir_fd, "snapshots", 0700) < 0 && errno != EEXIST)
		return err_errno(err, "store %s: making snapshots", store->dir);
	store->snapshots_fd = openat(store->dir_fd, "snapshots",
				     O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (store->snapshots_fd < 0)
		return err_errno(err, "store %s: snapshots", store->dir);
	return 0;
}

/* Gives none of the ids that a catalog set aside may have given: files say some of them, and not
 * even a file need be left. */
static void skip_lost_ids(struct store *store)
{
	uint64_t last_id, next_id = catalog_next_id(store->catalog);

	if (store_has_aside(store, &last_id))
		catalog_skip_ids(store->catalog, last_id > next_id ? last_id : next_id);
}

/* The catalog, or a new one in its place: a damaged one is set aside, unless its mount is to be
 * taken over, which cannot be done without it. */
static int open_catalog(struct store *store, const struct store_setup *setup, struct err *err)
{
	struct catalog_setup catalog = { store->dir_fd, store->dir, setup->in_memory,
					 setup->mount };

	if (setup->set_aside && !setup->mount &&
	    (store_set_aside(store, true, "it was asked for", err) < 0 ||
	     open_snapshots(store, err) < 0))
		return -1;
	if (catalog_open(&store->catalog, &catalog, err) == 0)
		return 0;
	if (err->kind != ERR_BAD_DATA)
		return -1;
	if (setup->mount)
		return err_prefix(err, "store %s is not the one that this mount was served from",
				  store->dir);
	if (store_set_aside(store, false, err->msg, err) < 0)
		return -1;
	return catalog_open(&store->catalog, &catalog, err);
}

static int note_refused(struct store *store, struct err *err)
{
	bool is_any;

	if (catalog_has_refused(store->catalog, &is_any, err) < 0)
		return -1;
	atomic_init(&store->has_refused, is_any);
	return 0;
}

static int take_over(struct store *store, struct err *err)
{
	uint64_t n_snapshots, n_bytes;

	if (catalog_count(store->catalog, &n_snapshots, &n_bytes, err) < 0)
		return -1;
	store->n_snapshots = n_snapshots;
	store->n_bytes = n_bytes;
	return 0;
}

/* dir_fd is there. */
static int furnish(struct store *store, const struct store_setup *setup, struct err *err)
{
	if (lock_store(store, err) < 0 || open_snapshots(store, err) < 0 ||
	    open_catalog(store, setup, err) < 0)
		return -1;
	if (catalog_is_new(store->catalog))
		skip_lost_ids(store);
	if (!store->in_memory && !setup->mount && fsync(store->dir_fd) < 0)
		return err_errno(err, "store %s: fsync", store->dir);
	if (note_refused(store, err) < 0 ||
	    (setup->mount ? take_over(store, err) : store_sweep(store, err)) < 0)
		return -1;
	store->first_id = catalog_next_id(store->catalog);
	/* What is there can be served all the same. */
	if (catalog_note_opening(store->catalog, err) < 0)
		log_event(LOG_LEVEL_WARNING, "opening_not_noted", LOG_STR("store", store->dir),
			  LOG_STR("error", err->msg));
	return 0;
}

int store_open(struct store **ret, const struct store_setup *setup, struct err *err)
{
	_cleanup_(store_close_cleanup) struct store *store = store_allocate(setup);

	if (!store)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", setup->dir);
	store->dir_fd = openat(setup->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir_fd < 0)
		return err_errno(err, "store %s", store->dir);
	if (furnish(store, setup, err) < 0)
		return -1;
	*ret = steal_ptr(&store);
	return 0;
}

int store_peek(int dir_fd, const char *dir, struct err *err)
{
	return catalog_peek(dir_fd, dir, err);
}

void store_close(struct store *store)
{
	if (!store)
		return;
	assert(!store->queue && !store->has_leader);
	catalog_close(store->catalog);
	catalog_files_release(&store->deleted);
	catalog_files_release(&store->released);
	catalog_files_release(&store->lingering);
	/* Closing the catalog has settled it: they go as any file that it does not know. */
	catalog_files_release(&store->doubtful);
	close_cleanup(&store->snapshots_fd);
	/* Also if a child has inherited the descriptor. */
	if (store->lock_fd >= 0)
		flock(store->lock_fd, LOCK_UN);
	close_cleanup(&store->lock_fd);
	close_cleanup(&store->dir_fd);
	pthread_mutex_destroy(&store->lock);
	free(store->dir);
	free(store);
}

uint64_t store_mount(const struct store *store)
{
	return catalog_mount(store->catalog);
}

uint32_t store_life(const struct store *store)
{
	return catalog_life(store->catalog);
}

const char *store_path(uint64_t id, char ret[STORE_PATH_SIZE])
{
	snprintf(ret, STORE_PATH_SIZE, "%02x/%" PRIu64, store_shard(id), id);
	return ret;
}

static void linger(struct store *store, uint64_t id)
{
	struct err err = ERR_INIT;

	pthread_mutex_lock(&store->lock);
	/* If memory is short it stays until the store is opened again. */
	catalog_files_add(&store->lingering, id, 0, &err);
	pthread_mutex_unlock(&store->lock);
}

void store_unlink(struct store *store, uint64_t id)
{
	char path[STORE_PATH_SIZE], reason[128];

	if (unlinkat(store->snapshots_fd, store_path(id, path), 0) == 0 || errno == ENOENT)
		return;
	log_event(LOG_LEVEL_WARNING, "unlink_failed", LOG_STR("store", store->dir),
		  LOG_STR("file", path),
		  LOG_STR("error", strerror_r(errno, reason, sizeof(reason))));
	linger(store, id);
}

int store_open_file(struct store *store, uint64_t id)
{
	char path[STORE_PATH_SIZE];

	return openat(store->snapshots_fd, store_path(id, path),
		      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

int store_open_bytes(struct store *store, const struct snapshot *snapshot, struct err *err)
{
	int fd = store_open_file(store, snapshot->id);

	if (fd < 0)
		return err_errno(err, "store %s: opening snapshot %" PRIu64, store->dir,
				 snapshot->id);
	return fd;
}

void store_usage(struct store *store, uint64_t *ret_snapshots, uint64_t *ret_bytes)
{
	*ret_snapshots = atomic_load(&store->n_snapshots);
	*ret_bytes = atomic_load(&store->n_bytes);
}
