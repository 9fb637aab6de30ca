/*
 * Opening and closing a store, its lock, and the way to its files.
 */
#include "term/store.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "term/store_internal.h"

DEFINE_CLEANUP(struct store, store_close)

static void sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = slash ? strndup(path, (size_t)(slash - path) + 1)
					    : strdup(".");
	_cleanup_close_ int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	/* Best effort: one may write to a directory that one may not open. */
	if (fd >= 0)
		fsync(fd);
}

/* Makes what is missing of the path. */
static int make_directories(const char *dir, struct err *err)
{
	_cleanup_free_ char *path = strdup(dir);

	if (!path)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", dir);
	for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	for (char *slash = path; slash;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(path, slash ? 0755 : 0700) == 0)
			sync_parent(path);
		else if (errno != EEXIST)
			return err_errno(err, "store %s: making %s", dir, path);
		if (slash)
			*slash = '/';
	}
	return 0;
}

static int open_directory(const char *dir, struct err *err)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	int fd = open(dir, flags);

	if (fd < 0 && errno == ENOENT) {
		if (make_directories(dir, err) < 0)
			return -1;
		fd = open(dir, flags);
	}
	if (fd < 0)
		return err_errno(err, "store %s", dir);
	return fd;
}

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
		log_event(LOG_LEVEL_WARNING, "lock_without_pid", LOG_STR("store", store->dir));
	return 0;
}

static struct store *store_allocate(const char *dir)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	store->mount_fd = store->dir_fd = store->lock_fd = store->snapshots_fd = -1;
	store->queue_end = &store->queue;
	store->dir = strdup(dir);
	if (!store->dir || pthread_mutex_init(&store->lock, NULL) != 0) {
		free(store->dir);
		free(store);
		return NULL;
	}
	return store;
}

/* dir_fd is there. */
static int furnish(struct store *store, struct err *err)
{
	if (lock_store(store, err) < 0)
		return -1;
	if (mkdirat(store->dir_fd, "snapshots", 0700) < 0 && errno != EEXIST)
		return err_errno(err, "store %s: making snapshots", store->dir);
	store->snapshots_fd = openat(store->dir_fd, "snapshots",
				     O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->snapshots_fd < 0)
		return err_errno(err, "store %s: snapshots", store->dir);
	if (catalog_open(&store->catalog, store->dir_fd, store->dir, store->in_memory, err) < 0)
		return -1;
	if (!store->in_memory && fsync(store->dir_fd) < 0)
		return err_errno(err, "store %s: fsync", store->dir);
	return store_sweep(store, err);
}

int store_open(struct store **ret, const char *dir, struct err *err)
{
	_cleanup_(store_close_cleanup) struct store *store = store_allocate(dir);

	if (!store)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", dir);
	store->dir_fd = open_directory(dir, err);
	if (store->dir_fd < 0 || furnish(store, err) < 0)
		return -1;
	*ret = steal_ptr(&store);
	return 0;
}

int store_open_memory(struct store **ret, struct err *err)
{
	_cleanup_(store_close_cleanup) struct store *store = store_allocate("memory");

	if (!store)
		return err_set(err, ERR_INTERNAL, "store \"memory\": out of memory");
	store->in_memory = true;
	if (store_make_memory(store, err) < 0 || furnish(store, err) < 0)
		return -1;
	*ret = steal_ptr(&store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	assert(!store->queue && !store->has_leader);
	catalog_close(store->catalog);
	catalog_files_release(&store->deleted);
	catalog_files_release(&store->released);
	if (store->runtime_dir)
		store_remove_tree(store->runtime_dir);
	close_cleanup(&store->snapshots_fd);
	close_cleanup(&store->lock_fd);
	close_cleanup(&store->dir_fd);
	close_cleanup(&store->mount_fd);
	pthread_mutex_destroy(&store->lock);
	free(store->runtime_dir);
	free(store->dir);
	free(store);
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

void store_unlink(struct store *store, uint64_t id)
{
	char path[STORE_PATH_SIZE], reason[128];

	if (unlinkat(store->snapshots_fd, store_path(id, path), 0) < 0 && errno != ENOENT)
		log_event(LOG_LEVEL_WARNING, "unlink_failed", LOG_STR("store", store->dir),
			  LOG_STR("file", path),
			  LOG_STR("error", strerror_r(errno, reason, sizeof(reason))));
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
