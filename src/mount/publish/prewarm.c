#include "mount/publish/prewarm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mount/connection/notifier.h"

/* The longest time that an update waits for its pages. */
#define TIME_MAX_MS 500

/* How often the spare memory is checked. */
#define CHECK_BYTES (16 * (uint64_t)NOTIFIER_DATA_MAX)

struct prewarm {
	struct prewarm_setup setup;
	uint64_t held_bytes; /* of snapshots that the kernel holds */
	_Atomic uint64_t stored_bytes;
};

int prewarm_new(struct prewarm **ret, const struct prewarm_setup *setup, struct err *err)
{
	struct prewarm *prewarm = calloc(1, sizeof(*prewarm));

	if (!prewarm)
		return err_set(err, ERR_INTERNAL, "prewarm: out of memory");
	prewarm->setup = *setup;
	*ret = prewarm;
	return 0;
}

void prewarm_free(struct prewarm *prewarm)
{
	free(prewarm);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Whole pages, or all bytes: a part of a page does not make it readable. */
static uint64_t wanted_bytes(const struct prewarm *prewarm, const struct snapshot *snapshot,
			     uint64_t given_back, uint64_t limit_bytes)
{
	uint64_t total = prewarm->setup.total_bytes + given_back;
	uint64_t left = total > prewarm->held_bytes ? total - prewarm->held_bytes : 0;
	uint64_t wanted = least(snapshot->size_bytes, least(limit_bytes, left));

	return wanted == snapshot->size_bytes ? wanted
					      : wanted - wanted % (uint64_t)sysconf(_SC_PAGESIZE);
}

static int read_chunk(int fd, char *data, size_t len, off_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = pread(fd, data + done, len - done, offset + (off_t)done);
		if (got <= 0 && !(got < 0 && errno == EINTR))
			return -1; /* a reader of the file gets the error */
		done += got > 0 ? (size_t)got : 0;
	}
	return 0;
}

/* Returns the number of bytes stored. */
static uint64_t store_bytes(struct prewarm *prewarm, int fd, uint64_t id, uint64_t wanted)
{
	struct session *session = prewarm->setup.session;
	int64_t deadline_ms = clock_boot_ms() + TIME_MAX_MS;
	char *data = session_store_data(session);
	uint64_t done = 0;

	while (done < wanted && clock_boot_ms() < deadline_ms) {
		size_t len = (size_t)least(wanted - done, NOTIFIER_DATA_MAX);
		if (done % CHECK_BYTES == 0 && !spare_memory_has(prewarm->setup.spare_memory,
								 least(wanted - done, CHECK_BYTES)))
			break;
		if (read_chunk(fd, data, len, (off_t)done) < 0 ||
		    session_notify_store(session, id, done, data, len) < 0)
			break;
		done += len;
	}
	return done;
}

void prewarm_store(struct prewarm *prewarm, struct snapshot *snapshot,
		   const struct snapshot *replaced, uint64_t limit_bytes)
{
	struct err err = ERR_INIT;
	uint64_t given_back = replaced ? replaced->prewarmed_bytes : 0;
	uint64_t wanted = wanted_bytes(prewarm, snapshot, given_back, limit_bytes);

	/* Unverified bytes are not shown to readers. */
	if (!wanted || atomic_load(&snapshot->integrity) != SNAPSHOT_VERIFIED)
		return;
	_cleanup_close_ int fd = store_open_bytes(prewarm->setup.store, snapshot, &err);
	if (fd < 0)
		return;
	uint64_t done = store_bytes(prewarm, fd, snapshot->id, wanted);
	posix_fadvise(fd, 0, (off_t)done, POSIX_FADV_DONTNEED);
	if (done < wanted)
		log_event(LOG_LEVEL_DEBUG, "prewarm_cut", LOG_INT("id", (int64_t)snapshot->id),
			  LOG_INT("bytes", (int64_t)done), LOG_INT("wanted", (int64_t)wanted));
	snapshot->prewarmed_bytes = done;
	prewarm->held_bytes += done;
	atomic_fetch_add(&prewarm->stored_bytes, done);
}

void prewarm_released(struct prewarm *prewarm, struct snapshot *snapshot)
{
	prewarm->held_bytes -= least(snapshot->prewarmed_bytes, prewarm->held_bytes);
	snapshot->prewarmed_bytes = 0;
}

uint64_t prewarm_count(const struct prewarm *prewarm)
{
	return atomic_load(&prewarm->stored_bytes);
}
