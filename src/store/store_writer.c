/*
 * Writes the bytes of a snapshot to a file without a name.
 *
 * The file is unnamed (O_TMPFILE), so that a crash leaves nothing behind. On a file system without
 * O_TMPFILE it is snapshots/new-LIFE-N, which a later opening deletes. Write-back starts while the
 * body still arrives, so that the final fsync is short.
 */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd_path.h"
#include "store/store_state.h"

#define WRITE_BACK_BYTES (8 << 20)

struct store_writer {
	struct store *store;	    /* borrowed */
	struct digest *digest;	    /* owned */
	int fd;			    /* owned */
	char name[STORE_PATH_SIZE]; /* below snapshots/; empty: the file has no name */
	uint64_t size_bytes;
	uint64_t write_back_bytes; /* write-back was started up to here */
	bool is_finished;
	uint8_t sha256[DIGEST_SIZE];
};

DEFINE_CLEANUP(struct store_writer, store_writer_free)

static int open_unnamed(struct store *store)
{
	int fd = openat(store->snapshots_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0400);

	/* EISDIR and ENOENT: the kernel or the file system does not support the flag. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT))
		atomic_store(&store->no_tmpfile, true);
	return fd;
}

static int open_named(struct store_writer *writer)
{
	char name[sizeof(writer->name)];

	store_temporary_path(writer->store, atomic_fetch_add(&writer->store->n_writers, 1), name);
	int fd = openat(writer->store->snapshots_fd, name,
			O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
	if (fd >= 0)
		memcpy(writer->name, name, sizeof(name));
	return fd;
}

int store_writer_new(struct store *store, struct store_writer **ret, struct err *err)
{
	_cleanup_(store_writer_free_cleanup) struct store_writer *writer = calloc(1,
										  sizeof(*writer));

	if (!writer)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", store->dir);
	writer->store = store;
	writer->fd = -1;
	if (digest_new(&writer->digest, err) < 0)
		return -1;
	if (!atomic_load(&store->no_tmpfile))
		writer->fd = open_unnamed(store);
	if (writer->fd < 0 && atomic_load(&store->no_tmpfile))
		writer->fd = open_named(writer);
	if (writer->fd < 0)
		return store_report_deleted(store, store->snapshots_fd, err)
			       ? -1
			       : err_errno(err, "store %s: new snapshot", store->dir);
	*ret = steal_ptr(&writer);
	return 0;
}

void store_writer_free(struct store_writer *writer)
{
	if (!writer)
		return;
	if (writer->name[0])
		unlinkat(writer->store->snapshots_fd, writer->name, 0);
	close_cleanup(&writer->fd);
	digest_free(writer->digest);
	free(writer);
}

static void start_write_back(struct store_writer *writer)
{
	uint64_t n = writer->size_bytes - writer->write_back_bytes;

	if (n < WRITE_BACK_BYTES || writer->store->in_memory)
		return;
	/* Only a hint; fsync reports errors. */
	sync_file_range(writer->fd, (off64_t)writer->write_back_bytes, (off64_t)n,
			SYNC_FILE_RANGE_WRITE);
	writer->write_back_bytes = writer->size_bytes;
}

int store_writer_write(struct store_writer *writer, const void *data, size_t len, struct err *err)
{
	const char *rest = data;

	assert(!writer->is_finished);
	if (digest_update(writer->digest, data, len, err) < 0)
		return -1;
	for (size_t left = len; left > 0;) {
		ssize_t n = write(writer->fd, rest, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "store %s: writing a snapshot", writer->store->dir);
		rest += n;
		left -= (size_t)n;
	}
	writer->size_bytes += len;
	start_write_back(writer);
	return 0;
}

int store_writer_restart(struct store_writer *writer, struct err *err)
{
	if (ftruncate(writer->fd, 0) < 0 || lseek(writer->fd, 0, SEEK_SET) < 0)
		return err_errno(err, "store %s: emptying a snapshot", writer->store->dir);
	writer->size_bytes = 0;
	writer->write_back_bytes = 0;
	writer->is_finished = false;
	return digest_reset(writer->digest, err);
}

uint64_t store_writer_size(const struct store_writer *writer)
{
	return writer->size_bytes;
}

int store_writer_digest(struct store_writer *writer, uint8_t ret[DIGEST_SIZE], struct err *err)
{
	if (!writer->is_finished && digest_final(writer->digest, writer->sha256, err) < 0)
		return -1;
	writer->is_finished = true;
	memcpy(ret, writer->sha256, DIGEST_SIZE);
	return 0;
}

const uint8_t *store_writer_sha256(const struct store_writer *writer)
{
	assert(writer->is_finished);
	return writer->sha256;
}

int store_writer_sync(struct store_writer *writer, struct err *err)
{
	if (!writer->store->in_memory && fsync(writer->fd) < 0)
		return err_errno(err, "store %s: fsync of a snapshot", writer->store->dir);
	return 0;
}

static int link_once(struct store_writer *writer, const char *path)
{
	int dir = writer->store->snapshots_fd;
	char unnamed[FD_PATH_SIZE];

	if (writer->name[0])
		return renameat(dir, writer->name, dir, path);
	return linkat(AT_FDCWD, fd_path(writer->fd, unnamed), dir, path, AT_SYMLINK_FOLLOW);
}

int store_writer_link(struct store_writer *writer, uint64_t id, struct err *err)
{
	struct store *store = writer->store;
	char path[STORE_PATH_SIZE];
	int result = link_once(writer, store_path(id, path));

	if (result < 0 && errno == ENOENT) {
		result = store_make_shard(store, path);
		if (result == 0)
			result = link_once(writer, path);
	}
	if (result < 0)
		return store_report_deleted(store, store->snapshots_fd, err)
			       ? -1
			       : err_errno(err, "store %s: linking snapshots/%s", store->dir, path);
	writer->name[0] = '\0';
	return 0;
}
