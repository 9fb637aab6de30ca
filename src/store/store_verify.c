/*
 * Verifies that the bytes are those that were committed.
 *
 * A file that is missing or too short is as corrupt as one with other bytes: fetching again repairs
 * each of them. A file that cannot be read (EIO) counts as corrupt after ten seconds. Running out
 * of descriptors or memory is not corruption.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/store_state.h"

#define PIECE_BYTES	  (1 << 20)
#define UNREADABLE_MAX_MS 10000

DEFINE_CLEANUP(struct digest, digest_free)

static int corrupt(struct store *store, struct snapshot *snapshot, const char *how, struct err *err)
{
	char path[STORE_PATH_SIZE];

	atomic_store(&snapshot->integrity, SNAPSHOT_CORRUPT);
	return err_set(err, ERR_BAD_DATA, "store %s: snapshots/%s is corrupt: %s", store->dir,
		       store_path(snapshot->id, path), how);
}

/* The disk may recover soon, and a dropped snapshot cannot be fetched again while its source is
 * down. If the disk keeps failing, the bytes are lost. */
static int unreadable(struct store *store, struct snapshot *snapshot, struct err *err)
{
	int number = errno;
	int64_t now_ms = clock_boot_ms(), since_ms = 0;

	if (!atomic_compare_exchange_strong(&snapshot->unreadable_since_ms, &since_ms, now_ms) &&
	    now_ms - since_ms >= UNREADABLE_MAX_MS)
		return corrupt(store, snapshot, strerror(number), err);
	errno = number;
	return err_errno(err, "store %s: reading snapshot %" PRIu64, store->dir, snapshot->id);
}

static int digest_file(struct store *store, struct snapshot *snapshot, int fd,
		       struct cancel *cancel, uint8_t ret[DIGEST_SIZE], struct err *err)
{
	_cleanup_(digest_free_cleanup) struct digest *digest = NULL;
	_cleanup_free_ char *piece = malloc(PIECE_BYTES);
	uint64_t size_bytes = 0;
	ssize_t n;

	if (!piece)
		return err_set(err, ERR_INTERNAL, "store %s: out of memory", store->dir);
	if (digest_new(&digest, err) < 0)
		return -1;
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while ((n = read(fd, piece, PIECE_BYTES)) != 0) {
		if (cancel_requested(cancel))
			return err_set(err, ERR_CANCELED, "verifying was canceled");
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EIO)
			return unreadable(store, snapshot, err);
		if (n < 0 && errno == EISDIR)
			return corrupt(store, snapshot, strerror(errno), err);
		if (n < 0)
			return err_errno(err, "store %s: reading snapshot %" PRIu64, store->dir,
					 snapshot->id);
		size_bytes += (uint64_t)n;
		if (size_bytes > snapshot->size_bytes)
			return corrupt(store, snapshot, "it is too long", err);
		if (digest_update(digest, piece, (size_t)n, err) < 0)
			return -1;
	}
	if (size_bytes != snapshot->size_bytes)
		return corrupt(store, snapshot, "it is too short", err);
	return digest_final(digest, ret, err);
}

struct verified_job {
	struct job job;
	uint64_t id;
};

static int run_verified(struct store *store, struct job *job, struct err *err)
{
	struct verified_job *verified = container_of(job, struct verified_job, job);

	return catalog_set_verified(store->catalog, verified->id, err);
}

static void note_verified(struct store *store, struct snapshot *snapshot)
{
	struct err err = ERR_INIT;
	struct verified_job verified = {
		.job = { .kind = JOB_WRITES, .run = run_verified },
		.id = snapshot->id,
	};

	atomic_store(&snapshot->integrity, SNAPSHOT_VERIFIED);
	/* The bytes are valid; without the record they are verified again after a restart. */
	if (store_run(store, &verified.job, &err) < 0)
		log_event(LOG_LEVEL_WARNING, "verified_not_noted",
			  LOG_INT("snapshot", (int64_t)snapshot->id), LOG_STR("error", err.msg));
}

int store_verify(struct store *store, struct snapshot *snapshot, struct cancel *cancel,
		 struct err *err)
{
	uint8_t sha256[DIGEST_SIZE];

	switch (atomic_load(&snapshot->integrity)) {
	case SNAPSHOT_VERIFIED:
		return 0;
	case SNAPSHOT_CORRUPT:
		return corrupt(store, snapshot, "it was found corrupt before", err);
	case SNAPSHOT_UNVERIFIED:
		break;
	}

	_cleanup_close_ int fd = store_open_file(store, snapshot->id);
	if (fd < 0 && errno == EIO)
		return unreadable(store, snapshot, err);
	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return corrupt(store, snapshot, strerror(errno), err);
	if (fd < 0)
		return err_errno(err, "store %s: opening snapshot %" PRIu64, store->dir,
				 snapshot->id);
	if (digest_file(store, snapshot, fd, cancel, sha256, err) < 0)
		return -1;
	if (memcmp(sha256, snapshot->sha256, DIGEST_SIZE) != 0)
		return corrupt(store, snapshot, "its SHA-256 differs", err);
	atomic_store(&snapshot->unreadable_since_ms, 0);
	note_verified(store, snapshot);
	return 0;
}
