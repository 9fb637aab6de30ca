/*
 * Setting a store, or its catalog, aside for inspection.
 *
 * Everything is moved, nothing is opened: the content may have made previous workers crash. The
 * database is moved first, and durably. If it stayed behind without its log, SQLite would consider
 * it complete although the last transactions are missing. SQLite removes a log without a database.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/directory.h"
#include "base/log.h"
#include "store/store_state.h"

#define ASIDE	   "aside-"
#define N_KEPT	   2
#define ASIDE_SIZE (sizeof(ASIDE) + CLOCK_RFC3339_SIZE)

static bool is_aside(const char *name)
{
	return strncmp(name, ASIDE, strlen(ASIDE)) == 0 && strlen(name) < ASIDE_SIZE;
}

struct oldest {
	char name[ASIDE_SIZE];
	unsigned n;
};

/* The names sort by time. */
static int find_oldest(void *arg, int dir_fd, const char *name)
{
	struct oldest *oldest = arg;

	(void)dir_fd;
	if (is_aside(name) && (oldest->n++ == 0 || strcmp(name, oldest->name) < 0))
		strcpy(oldest->name, name);
	return 0;
}

static void remove_old(struct store *store)
{
	struct oldest oldest = { .n = 0 };
	unsigned before = UINT_MAX;

	while (directory_list(store->dir_fd, ".", find_oldest, &oldest) == 0 && oldest.n > N_KEPT &&
	       oldest.n < before) {
		before = oldest.n;
		directory_remove_tree(store->dir_fd, oldest.name);
		oldest.n = 0;
	}
}

struct largest {
	const char *shard;
	uint64_t id;
	bool has_aside;
};

static int find_largest_in_shard(void *arg, int dir_fd, const char *name)
{
	struct largest *largest = arg;
	uint64_t id = store_parse_id(largest->shard, name);

	(void)dir_fd;
	if (id > largest->id)
		largest->id = id;
	return 0;
}

static int find_largest(void *arg, int dir_fd, const char *name)
{
	struct largest *largest = arg;

	largest->shard = name;
	if (store_is_shard(name))
		directory_list(dir_fd, name, find_largest_in_shard, largest);
	return 0;
}

static int find_aside(void *arg, int dir_fd, const char *name)
{
	struct largest *largest = arg;
	char snapshots[ASIDE_SIZE + sizeof("/snapshots")];

	if (!is_aside(name))
		return 0;
	largest->has_aside = true;
	snprintf(snapshots, sizeof(snapshots), "%s/snapshots", name);
	directory_list(dir_fd, snapshots, find_largest, largest);
	return 0;
}

bool store_has_aside(struct store *store, uint64_t *ret_last_id)
{
	struct largest largest = { .id = 0 };

	directory_list(store->dir_fd, ".", find_aside, &largest);
	*ret_last_id = largest.id;
	return largest.has_aside;
}

static int make_aside(struct store *store, char ret[ASIDE_SIZE], struct err *err)
{
	char now[CLOCK_RFC3339_SIZE];

	snprintf(ret, ASIDE_SIZE, ASIDE "%s", clock_rfc3339(clock_wall_ms(), now));
	if (mkdirat(store->dir_fd, ret, 0700) < 0 && errno != EEXIST)
		return err_errno(err, "store %s: making %s", store->dir, ret);
	int fd = openat(store->dir_fd, ret, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(err, "store %s: %s", store->dir, ret);
	return fd;
}

static int move_aside(struct store *store, int aside_fd, const char *name, struct err *err)
{
	if (renameat(store->dir_fd, name, aside_fd, name) < 0 && errno != ENOENT)
		return err_errno(err, "store %s: setting %s aside", store->dir, name);
	if (!store->in_memory && (fsync(aside_fd) < 0 || fsync(store->dir_fd) < 0))
		return err_errno(err, "store %s: fsync", store->dir);
	return 0;
}

int store_set_aside(struct store *store, bool with_snapshots, const char *reason, struct err *err)
{
	char aside[ASIDE_SIZE];
	/* The reason may be in *err. */
	_cleanup_free_ char *why = strdup(reason);
	_cleanup_close_ int aside_fd = make_aside(store, aside, err);

	if (aside_fd < 0 || move_aside(store, aside_fd, "catalog.db", err) < 0 ||
	    move_aside(store, aside_fd, "catalog.db-wal", err) < 0 ||
	    (with_snapshots && move_aside(store, aside_fd, "snapshots", err) < 0))
		return -1;
	log_event(LOG_LEVEL_ERROR, with_snapshots ? "store_set_aside" : "catalog_set_aside",
		  LOG_STR("store", store->dir), LOG_STR("as", aside), LOG_STR("reason", why));
	remove_old(store);
	return 0;
}
