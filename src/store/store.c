/*
 * Opening and closing a store, and its lock.
 */
#include "store/store.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file_lock.h"
#include "base/log.h"
#include "base/process_id.h"
#include "store/store_state.h"

DEFINE_CLEANUP(struct store, store_close)

/* A worker that was killed a moment ago may not have ended yet. */
#define LOCK_WAIT_MS 2000

static int report_owner(struct store *store, struct err *err)
{
	char text[24] = "";
	ssize_t n = pread(store->lock_fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid > 0)
		return err_set(err, ERR_CONFIG, "store %s is used by process %ld", store->dir, pid);
	return err_set(err, ERR_CONFIG, "store %s is used by another process", store->dir);
}

static int lock_store(struct store *store, struct err *err)
{
	char pid[24];

	store->lock_fd = openat(store->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
				0600);
	if (store->lock_fd < 0)
		return store_report_deleted(store, store->dir_fd, err)
			       ? -1
			       : err_errno(err, "store %s: lock", store->dir);
	if (file_lock_wait(store->lock_fd, LOCK_EX, LOCK_WAIT_MS) < 0)
		return errno == EWOULDBLOCK ? report_owner(store, err)
					    : err_errno(err, "store %s: lock", store->dir);
	int len = snprintf(pid, sizeof(pid), "%d\n", (int)process_id());
	/* The pid is for people only, so a full disk does not keep the store from opening. */
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

/* Skips all ids that a catalog set aside may have allocated. Its files show only some of them, if
 * any are left. */
static void skip_lost_ids(struct store *store)
{
	uint64_t last_id, next_id = catalog_next_id(store->catalog);

	if (store_has_aside(store, &last_id))
		catalog_skip_ids(store->catalog, last_id > next_id ? last_id : next_id);
}

/* Opens the catalog. Sets a damaged one aside and makes a new one, except when a mount is taken
 * over, which is not possible without its catalog. */
static int open_catalog(struct store *store, const struct store_setup *setup, struct err *err)
{
	struct catalog_setup catalog = { store->dir_fd, store->dir, setup->in_memory,
					 setup->mount };

	if (setup->set_aside && !setup->mount &&
	    (store_set_aside(store, true, "the last workers crashed with it", err) < 0 ||
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

static int count_snapshots(struct store *store, struct err *err)
{
	uint64_t n_snapshots, n_bytes;

	if (catalog_count(store->catalog, &n_snapshots, &n_bytes, err) < 0)
		return -1;
	store->n_snapshots = n_snapshots;
	store->n_bytes = n_bytes;
	return 0;
}

static int open_contents(struct store *store, const struct store_setup *setup, struct err *err)
{
	if (lock_store(store, err) < 0 || open_snapshots(store, err) < 0 ||
	    open_catalog(store, setup, err) < 0)
		return -1;
	if (catalog_is_new(store->catalog))
		skip_lost_ids(store);
	if (!store->in_memory && !setup->mount && fsync(store->dir_fd) < 0)
		return err_errno(err, "store %s: fsync", store->dir);
	if ((setup->mount ? count_snapshots(store, err) : store_reconcile(store, err)) < 0)
		return -1;
	store->first_id = catalog_next_id(store->catalog);
	/* The snapshots can be served all the same. */
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
	if (open_contents(store, setup, err) < 0)
		return -1;
	*ret = steal_ptr(&store);
	return 0;
}

int store_peek(int dir_fd, const char *dir, struct err *err)
{
	return catalog_peek(dir_fd, dir, err);
}

int store_find(int dir_fd, const char *dir, bool *ret, struct err *err)
{
	return catalog_find(dir_fd, dir, ret, err);
}

void store_close(struct store *store)
{
	if (!store)
		return;
	assert(!store->queue && !store->has_leader);
	catalog_close(store->catalog);
	catalog_files_release(&store->deleted);
	catalog_files_release(&store->released);
	/* The next opening deletes these files, unless their rows are there. */
	catalog_files_release(&store->in_doubt);
	while (store->undeleted) {
		_cleanup_free_ struct undeleted *file = store->undeleted;

		store->undeleted = file->next;
	}
	close_cleanup(&store->snapshots_fd);
	/* Unlocks even if a child process has inherited the descriptor. */
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

void store_usage(struct store *store, uint64_t *ret_snapshots, uint64_t *ret_bytes)
{
	*ret_snapshots = atomic_load(&store->n_snapshots);
	*ret_bytes = atomic_load(&store->n_bytes);
}
