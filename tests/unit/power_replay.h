/*
 * power_replay: makes what a disk may hold after a power cut, from the records of power_record.
 *
 * The model guarantees less than any Linux file system:
 *	- A write to a file, and its length, is durable after the next fsync or fdatasync of the file.
 *	- A name (made, linked, removed) is durable after the next fsync of its directory. An fsync of
 *	  the file or of a parent directory does not make it durable. A rename needs both directories.
 *	- Each piece that is not durable may be there or not, whatever happened before or after it. Of
 *	  a write there may also be only its length (with zeros), or some of its 512-byte sectors.
 */
#ifndef TESTS_UNIT_POWER_REPLAY_H
#define TESTS_UNIT_POWER_REPLAY_H

#include "power_record.h"

/* What happens to pieces that are not durable. */
enum fate {
	FATE_LOST,
	FATE_KEPT,
	FATE_LENGTHS,  /* keeps names and lengths, loses bytes */
	FATE_NAMELESS, /* keeps bytes, loses names */
	FATE_RANDOM,   /* chosen for each piece */
};

struct entry {
	unsigned dir;
	unsigned object;
	char name[OP_NAME_SIZE];
};

struct content {
	char *data; /* owned */
	size_t len;
};

#define REPLAY_ENTRIES 400
#define REPLAY_PENDING 4000

struct replay {
	struct content files[RECORD_OBJECTS]; /* what is durable */
	struct entry entries[REPLAY_ENTRIES];
	size_t n_entries;
	const struct op *pending[REPLAY_PENDING];
	bool half[REPLAY_PENDING]; /* a rename of which one directory was synced */
	size_t n_pending;
};

/* Returns the index of the entry with that name, or n. */
static size_t replay_find(const struct entry *entries, size_t n, unsigned dir, const char *name)
{
	size_t i = 0;

	while (i < n && (entries[i].dir != dir || strcmp(entries[i].name, name) != 0))
		i++;
	return i;
}

static void replay_apply_name(struct entry *entries, size_t *n, const struct op *op)
{
	size_t i = replay_find(entries, *n, op->dir, op->name);

	if (op->kind == OP_RENAME && i < *n) {
		struct entry moved = { .dir = op->to_dir, .object = entries[i].object };

		memcpy(moved.name, op->to_name, OP_NAME_SIZE);
		entries[i] = entries[--*n];
		i = replay_find(entries, *n, op->to_dir, op->to_name);
		*n += i == *n;
		entries[i] = moved;
	} else if (op->kind == OP_LINK) {
		/* The name is there already if its removal was lost. */
		*n += i == *n;
		entries[i] = (struct entry){ .dir = op->dir, .object = op->object };
		memcpy(entries[i].name, op->name, OP_NAME_SIZE);
	} else if (op->kind == OP_UNLINK && i < *n) {
		entries[i] = entries[--*n];
	}
	if (*n == REPLAY_ENTRIES)
		record_fail("too many names");
}

static void replay_apply_bytes(struct content *file, const struct op *op)
{
	size_t end = op->kind == OP_WRITE ? op->offset + op->len : op->offset;

	if (op->kind == OP_TRUNCATE || end > file->len) {
		file->data = realloc(file->data, end + 1);
		if (end > file->len)
			memset(file->data + file->len, 0, end - file->len);
		file->len = end;
	}
	if (op->kind == OP_WRITE)
		memcpy(file->data + op->offset, op->data, op->len);
}

/* Whether the sync of this object makes the piece durable. */
static bool replay_is_settled(struct replay *replay, size_t i, unsigned object)
{
	const struct op *op = replay->pending[i];

	switch (op->kind) {
	case OP_WRITE:
	case OP_TRUNCATE:
		return op->object == object;
	case OP_LINK:
	case OP_UNLINK:
		return op->dir == object;
	case OP_RENAME:
		if (op->dir != object && op->to_dir != object)
			return false;
		if (op->dir == op->to_dir || replay->half[i])
			return true;
		replay->half[i] = true;
		return false;
	case OP_SYNC:
	case OP_PROMISED:
		break;
	}
	return false;
}

static void replay_sync(struct replay *replay, unsigned object)
{
	size_t left = 0;

	for (size_t i = 0; i < replay->n_pending; i++) {
		const struct op *op = replay->pending[i];

		if (!replay_is_settled(replay, i, object)) {
			replay->half[left] = replay->half[i];
			replay->pending[left++] = op;
		} else if (op->kind == OP_WRITE || op->kind == OP_TRUNCATE) {
			replay_apply_bytes(&replay->files[op->object], op);
		} else {
			replay_apply_name(replay->entries, &replay->n_entries, op);
		}
	}
	replay->n_pending = left;
}

static void replay_advance(struct replay *replay, const struct op *op)
{
	if (op->kind == OP_PROMISED)
		return;
	if (op->kind == OP_SYNC) {
		replay_sync(replay, op->object);
		return;
	}
	if (replay->n_pending == REPLAY_PENDING)
		record_fail("too many pieces that are not durable");
	replay->half[replay->n_pending] = false;
	replay->pending[replay->n_pending++] = op;
}

/* The same for a piece at each cut. */
static unsigned replay_dice(const struct op *op, unsigned seed, unsigned sides)
{
	uint64_t x = (uint64_t)(op - record.ops + 1) * 0x9e3779b97f4a7c15u +
		     seed * 0xd1342543de82ef95u;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 32;
	return (unsigned)(x % sides);
}

static bool replay_keeps_name(const struct op *op, enum fate fate, unsigned seed)
{
	switch (fate) {
	case FATE_LOST:
	case FATE_NAMELESS:
		return false;
	case FATE_KEPT:
	case FATE_LENGTHS:
		return true;
	case FATE_RANDOM:
		break;
	}
	return replay_dice(op, seed, 2);
}

static void replay_keep_length(int fd, const struct op *op)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size < op->offset + op->len &&
	    ftruncate(fd, (off_t)(op->offset + op->len)) < 0)
		record_fail("ftruncate");
}

static void replay_keep_sectors(int fd, const struct op *op, unsigned seed)
{
	replay_keep_length(fd, op);
	for (size_t at = 0; at < op->len; at += 512) {
		size_t n = op->len - at < 512 ? op->len - at : 512;

		if (replay_dice(op, seed + 7 + (unsigned)(at / 512), 2) &&
		    pwrite(fd, op->data + at, n, (off_t)(op->offset + at)) < 0)
			record_fail("pwrite");
	}
}

static void replay_keep_bytes(int fd, const struct op *op, enum fate fate, unsigned seed)
{
	/* 0: lost, 1: kept, 2: only the length, 3: some sectors. */
	unsigned how = fate == FATE_LOST      ? 0
		       : fate == FATE_LENGTHS ? 2
		       : fate == FATE_RANDOM  ? replay_dice(op, seed, 4)
					      : 1;

	if (how == 0)
		return;
	if (op->kind == OP_TRUNCATE) {
		if (ftruncate(fd, (off_t)op->offset) < 0)
			record_fail("ftruncate");
	} else if (how == 1) {
		if (pwrite(fd, op->data, op->len, (off_t)op->offset) < 0)
			record_fail("pwrite");
	} else if (how == 2) {
		replay_keep_length(fd, op);
	} else {
		replay_keep_sectors(fd, op, seed);
	}
}

static void replay_make(const struct replay *replay, const struct entry *entries, size_t n,
			unsigned dir, int dir_fd, enum fate fate, unsigned seed)
{
	for (size_t i = 0; i < n; i++) {
		unsigned object = entries[i].object;
		const struct content *file = &replay->files[object];
		bool is_dir = record.is_dir[object];

		if (entries[i].dir != dir)
			continue;
		if (is_dir && mkdirat(dir_fd, entries[i].name, 0700) < 0)
			record_fail("mkdir");
		int fd = openat(dir_fd, entries[i].name,
				is_dir ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fd < 0)
			record_fail("open");
		if (is_dir)
			replay_make(replay, entries, n, object, fd, fate, seed);
		else if (file->len && pwrite(fd, file->data, file->len, 0) < 0)
			record_fail("pwrite");
		for (size_t j = 0; j < replay->n_pending && !is_dir; j++) {
			const struct op *op = replay->pending[j];

			if ((op->kind == OP_WRITE || op->kind == OP_TRUNCATE) &&
			    op->object == object)
				replay_keep_bytes(fd, op, fate, seed);
		}
		close(fd);
	}
}

/* Fills the empty directory `dir` with what the disk holds if the power is cut now. */
static void replay_cut(const struct replay *replay, const char *dir, enum fate fate, unsigned seed)
{
	static struct entry entries[REPLAY_ENTRIES];
	size_t n = replay->n_entries;

	memcpy(entries, replay->entries, n * sizeof(*entries));
	for (size_t i = 0; i < replay->n_pending; i++) {
		const struct op *op = replay->pending[i];

		if (op->kind != OP_WRITE && op->kind != OP_TRUNCATE &&
		    replay_keeps_name(op, fate, seed))
			replay_apply_name(entries, &n, op);
	}
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	replay_make(replay, entries, n, RECORD_ROOT, fd, fate, seed);
	close(fd);
}

static void replay_release(struct replay *replay)
{
	for (size_t i = 0; i < RECORD_OBJECTS; i++)
		free(replay->files[i].data);
	memset(replay, 0, sizeof(*replay));
}

#endif
