/*
 * The files below snapshots/: their names, opening, linking and deleting them.
 *
 *	XX/ID         a snapshot; XX: store_shard() in hexadecimal
 *	new-LIFE-N    a file that is being written, on a file system without O_TMPFILE
 *
 * The time of a snapshot's file is that of the last successful check of its term.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "store/store_state.h"

/* All ids are smaller: a file with such a number was not written by the store. */
#define FOREIGN_ID (UINT64_C(1) << 62)

#define TEMPORARY "new-"

const char *store_path(uint64_t id, char ret[STORE_PATH_SIZE])
{
	snprintf(ret, STORE_PATH_SIZE, "%02x/%" PRIu64, store_shard(id), id);
	return ret;
}

bool store_is_shard(const char *name)
{
	return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

uint64_t store_parse_id(const char *shard, const char *name)
{
	char path[STORE_PATH_SIZE];
	uint64_t id = strtoull(name, NULL, 10);

	store_path(id, path);
	if (id == 0 || id >= FOREIGN_ID || strncmp(path, shard, 2) != 0 ||
	    strcmp(path + 3, name) != 0)
		return 0;
	return id;
}

const char *store_temporary_path(const struct store *store, unsigned n, char ret[STORE_PATH_SIZE])
{
	snprintf(ret, STORE_PATH_SIZE, TEMPORARY "%" PRIu32 "-%u", catalog_life(store->catalog), n);
	return ret;
}

bool store_is_old_temporary(const struct store *store, const char *name)
{
	char own[STORE_PATH_SIZE];

	snprintf(own, sizeof(own), TEMPORARY "%" PRIu32 "-", catalog_life(store->catalog));
	return strncmp(name, TEMPORARY, strlen(TEMPORARY)) == 0 &&
	       strncmp(name, own, strlen(own)) != 0;
}

bool store_report_deleted(const struct store *store, int directory, struct err *err)
{
	int number = errno;
	struct stat st;
	bool is_deleted = fstat(directory, &st) == 0 && st.st_nlink == 0;

	if (is_deleted)
		err_set(err, ERR_INTERNAL,
			"store %s was deleted while it was in use: restart rptfs", store->dir);
	errno = number;
	return is_deleted;
}

int store_make_shard(struct store *store, const char *path)
{
	char shard[3] = { path[0], path[1], '\0' };

	if (mkdirat(store->snapshots_fd, shard, 0700) < 0 && errno != EEXIST)
		return -1;
	return store->in_memory ? 0 : fsync(store->snapshots_fd);
}

int store_sync_shard(struct store *store, uint64_t id, struct err *err)
{
	char path[STORE_PATH_SIZE];

	store_path(id, path);
	path[2] = '\0';
	_cleanup_close_ int fd = openat(store->snapshots_fd, path,
					O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_errno(err, "store %s: fsync of snapshots/%s", store->dir, path);
	return 0;
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

bool store_delete_path(struct store *store, const char *path)
{
	return unlinkat(store->snapshots_fd, path, 0) == 0 || errno == ENOENT;
}

/* If it fails, the term is stale after the next start until it is checked. */
void store_note_check(struct store *store, const struct snapshot *snapshot, int64_t wall_ms)
{
	char path[STORE_PATH_SIZE];
	const struct timespec times[] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = wall_ms / 1000, .tv_nsec = wall_ms % 1000 * 1000000 },
	};

	utimensat(store->snapshots_fd, store_path(snapshot->id, path), times, AT_SYMLINK_NOFOLLOW);
}

int64_t store_noted_check(struct store *store, const struct snapshot *snapshot)
{
	char path[STORE_PATH_SIZE];
	struct stat st;

	if (fstatat(store->snapshots_fd, store_path(snapshot->id, path), &st, AT_SYMLINK_NOFOLLOW) <
	    0)
		return 0;
	return st.st_mtim.tv_sec * INT64_C(1000) + st.st_mtim.tv_nsec / 1000000;
}
