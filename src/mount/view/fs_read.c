/*
 * fs_read: READ of the store's files and of renderings.
 *
 * A short answer would truncate the file for every reader, so the answer is complete or EIO. A READ
 * of a snapshot from an earlier boot is answered by a thread of the verifier, and so is one that
 * fails: the verifier finds out whether the file is lost.
 */
#include "mount/view/fs_state.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/util.h"

static void read_rendered(struct fs *fs, fuse_req_t req, uint64_t id, size_t size, off_t offset)
{
	const struct rendering *rendering = rendered_get(fs->rendered, id);

	if (!rendering) {
		fuse_reply_err(req, EIO);
		return;
	}
	size_t start = (size_t)offset < rendering->len ? (size_t)offset : rendering->len;
	size_t len = rendering->len - start < size ? rendering->len - start : size;
	fuse_reply_buf(req, rendering->text + start, len);
	rendered_forget(fs->rendered, id, 1);
}

static void read_generations(struct fs *fs, fuse_req_t req, size_t size, off_t offset)
{
	_cleanup_free_ char *buf = malloc(size);

	if (!buf)
		fuse_reply_err(req, ENOMEM);
	else
		fuse_reply_buf(req, buf,
			       generations_read(fs->generations, buf, size, (uint64_t)offset));
}

static int read_descriptor(int fd, const struct snapshot *snapshot, char *buf, size_t len,
			   off_t offset, struct err *err)
{
	while (len > 0) {
		ssize_t got = pread(fd, buf, len, offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, "snapshot %" PRIu64 ": read", snapshot->id);
		if (got == 0)
			return err_set(err, ERR_BAD_DATA,
				       "snapshot %" PRIu64 ": its file is too short", snapshot->id);
		buf += got;
		offset += got;
		len -= (size_t)got;
	}
	return 0;
}

static int read_fully(struct fs *fs, const struct snapshot *snapshot, char *buf, size_t len,
		      off_t offset, struct err *err)
{
	int fd = spare_fd_open(fs->spare_fd, fs->setup.store, snapshot, err);
	int result = fd < 0 ? -1 : read_descriptor(fd, snapshot, buf, len, offset, err);

	spare_fd_close(fs->spare_fd, fd);
	return result;
}

/* Answers the READ; -1 with *err, and no answer, if the file cannot be read. */
static int read_snapshot(struct fs *fs, fuse_req_t req, const struct snapshot *snapshot,
			 size_t size, off_t offset, struct err *err)
{
	uint64_t start = (uint64_t)offset;

	if (start >= snapshot->size_bytes) {
		fuse_reply_buf(req, NULL, 0);
		return 0;
	}
	if (size > snapshot->size_bytes - start)
		size = snapshot->size_bytes - start;
	_cleanup_free_ char *buf = malloc(size);
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return 0;
	}
	if (read_fully(fs, snapshot, buf, size, offset, err) < 0)
		return -1;
	fuse_reply_buf(req, buf, size);
	return 0;
}

struct parked {
	struct verifier_read read;
	struct fs *fs;
	fuse_req_t req;
	size_t size;
	off_t offset;
};

static void read_verified(const struct parked *parked)
{
	struct fs *fs = parked->fs;
	struct term *term = parked->read.term;
	struct snapshot *snapshot = parked->read.snapshot;
	struct err err = ERR_INIT;

	if (read_snapshot(fs, parked->req, snapshot, parked->size, parked->offset, &err) == 0)
		return;
	if (err.kind == ERR_BAD_DATA)
		verifier_report(fs->verifier, term, snapshot, &err);
	else
		log_event(LOG_LEVEL_ERROR, "read_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	fuse_reply_err(parked->req, EIO);
}

static void answer_parked(struct verifier_read *read, enum verifier_verdict verdict)
{
	_cleanup_free_ struct parked *parked = container_of(read, struct parked, read);

	switch (verdict) {
	case VERIFIER_GOOD:
		read_verified(parked);
		break;
	case VERIFIER_BAD:
		fuse_reply_err(parked->req, EIO);
		break;
	case VERIFIER_STOPPED:
		fuse_reply_none(parked->req);
		break;
	}
	snapshot_unref(read->snapshot);
}

/* Takes the reference `snapshot`. */
static void park(struct fs *fs, fuse_req_t req, struct snapshot *snapshot, struct term *term,
		 size_t size, off_t offset)
{
	struct parked *parked = calloc(1, sizeof(*parked));

	if (!parked) {
		snapshot_unref(snapshot);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*parked = (struct parked){
		.read = { .snapshot = snapshot, .term = term, .answer = answer_parked },
		.fs = fs,
		.req = req,
		.size = size,
		.offset = offset,
	};
	verifier_park(fs->verifier, &parked->read);
}

void fs_op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		struct fuse_file_info *info)
{
	struct fs *fs = fuse_req_userdata(req);
	struct err err = ERR_INIT;
	struct term *term;
	bool superseded;

	(void)info;
	if (id == fs->generations_id) {
		read_generations(fs, req, size, offset);
		return;
	}
	if (id & RENDERED_ID_BIT) {
		read_rendered(fs, req, id, size, offset);
		return;
	}
	struct snapshot *snapshot = nodes_find(fs->nodes, id, &term, &superseded);
	if (!snapshot) {
		fuse_reply_err(req, EIO);
		return;
	}
	bool is_answered = atomic_load(&snapshot->integrity) == SNAPSHOT_VERIFIED &&
			   read_snapshot(fs, req, snapshot, size, offset, &err) == 0;
	if (!is_answered && snapshot_doubt(snapshot)) {
		park(fs, req, snapshot, term, size, offset);
		return;
	}
	if (!is_answered)
		fuse_reply_err(req, EIO);
	snapshot_unref(snapshot);
}
