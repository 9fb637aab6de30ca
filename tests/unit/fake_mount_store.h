/*
 * fake_mount_store: replaces the store in tests of the mounted file system.
 *
 * The state is in memory that all processes of the test share: which snapshot each name has, which
 * superseded ones the kernel may hold, and which calls fail. A snapshot's bytes are computed from
 * its id and the offset, so a reader can check them.
 */
#ifndef TESTS_UNIT_FAKE_MOUNT_STORE_H
#define TESTS_UNIT_FAKE_MOUNT_STORE_H

#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "store/store.h"

#define UNUSED	   __attribute__((unused))
#define MAX_NAMES  8
#define MAX_HELD   256
#define BODY_WORDS 32768
#define BODY_SIZE  (BODY_WORDS * sizeof(uint64_t))

/* A configured file; names are sorted. */
struct fake_name {
	char name[32];
	_Atomic uint64_t current; /* id; 0: none */
	_Atomic bool configured;
};

struct world {
	struct fake_name names[MAX_NAMES];
	size_t n_names;
	_Atomic uint64_t next_id;
	struct {
		_Atomic uint64_t id; /* 0: free */
		_Atomic size_t name;
	} held[MAX_HELD];
	_Atomic mode_t mode;

	atomic_bool hang;      /* opening bytes never returns */
	atomic_bool unchecked; /* verification never ends */
	atomic_int hanging;    /* calls that hang */
	atomic_int released;   /* calls of store_release() */
};

static struct world *world;

UNUSED static void world_make(void)
{
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	atomic_store(&world->next_id, 1000);
	atomic_store(&world->mode, 0444);
}

UNUSED static uint64_t word_of(uint64_t id, uint64_t i)
{
	return (id << 24) ^ i;
}

/* Gives the name a new snapshot; the kernel may hold the previous one. */
UNUSED static uint64_t world_commit(size_t name)
{
	uint64_t id = atomic_fetch_add(&world->next_id, 1);
	uint64_t old = atomic_load(&world->names[name].current);

	for (size_t i = 0; old && i < MAX_HELD; i++) {
		if (atomic_load(&world->held[i].id))
			continue;
		atomic_store(&world->held[i].name, name); /* only one thread commits at a time */
		atomic_store(&world->held[i].id, old);
		break;
	}
	atomic_store(&world->names[name].current, id);
	return id;
}

static struct snapshot *fake_snapshot(uint64_t id)
{
	struct snapshot *snapshot = snapshot_new("v", "fake");

	snapshot->id = id;
	snapshot->size_bytes = BODY_SIZE;
	atomic_store(&snapshot->integrity,
		     atomic_load(&world->unchecked) ? SNAPSHOT_UNVERIFIED : SNAPSHOT_VERIFIED);
	return snapshot;
}

UNUSED static struct snapshot *world_current(size_t name)
{
	uint64_t id = atomic_load(&world->names[name].current);

	return id ? fake_snapshot(id) : NULL;
}

int store_list_held(struct store *store,
		    int (*each)(void *arg, const char *term, struct snapshot *snapshot,
				struct err *err),
		    void *arg, struct err *err)
{
	(void)store;
	for (size_t i = 0; i < MAX_HELD; i++) {
		uint64_t id = atomic_load(&world->held[i].id);
		size_t name = atomic_load(&world->held[i].name);
		if (!id || id == atomic_load(&world->names[name].current))
			continue; /* or it was killed during a commit */
		if (each(arg, world->names[name].name, fake_snapshot(id), err) < 0)
			return -1;
	}
	for (size_t i = 0; i < world->n_names; i++) {
		struct snapshot *current = world_current(i);
		if (!current)
			continue;
		if (atomic_load(&world->names[i].configured))
			snapshot_unref(current);
		else if (each(arg, world->names[i].name, current, err) < 0)
			return -1;
	}
	return 0;
}

void store_release(struct store *store, const struct snapshot *snapshot)
{
	(void)store;
	for (size_t i = 0; i < MAX_HELD; i++) {
		if (atomic_load(&world->held[i].id) == snapshot->id)
			atomic_store(&world->held[i].id, 0);
	}
	atomic_fetch_add(&world->released, 1);
}

int store_directory_id(struct store *store, const char *path, uint64_t *ret, struct err *err)
{
	uint64_t id = 0;

	(void)store;
	(void)err;
	for (; *path; path++)
		id = (id * 31 + (unsigned char)*path) % 900;
	*ret = 2 + id; /* smaller than those of snapshots */
	return 0;
}

int store_take_id(struct store *store, uint64_t *ret, struct err *err)
{
	(void)store;
	(void)err;
	*ret = atomic_fetch_add(&world->next_id, 1);
	return 0;
}

uint64_t store_last_id(const struct store *store)
{
	(void)store;
	return atomic_load(&world->next_id) - 1;
}

int store_open_bytes(struct store *store, const struct snapshot *snapshot, struct err *err)
{
	static uint64_t words[BODY_WORDS];
	static atomic_flag busy = ATOMIC_FLAG_INIT;
	int fd = memfd_create("snapshot", MFD_CLOEXEC);

	(void)store;
	if (atomic_load(&world->hang)) {
		atomic_fetch_add(&world->hanging, 1);
		for (;;)
			pause();
	}
	while (atomic_flag_test_and_set(&busy))
		usleep(10);
	for (uint64_t i = 0; i < BODY_WORDS; i++)
		words[i] = word_of(snapshot->id, i);
	ssize_t written = write(fd, words, sizeof(words));
	atomic_flag_clear(&busy);
	return written == sizeof(words) ? fd : err_errno(err, "memfd");
}

int store_verify(struct store *store, struct snapshot *snapshot, struct cancel *cancel,
		 struct err *err)
{
	(void)store;
	if (atomic_load(&world->unchecked)) {
		atomic_fetch_add(&world->hanging, 1);
		struct pollfd pfd = { .fd = cancel->fd, .events = POLLIN };
		while (poll(&pfd, 1, -1) < 0)
			;
		return err_set(err, ERR_CANCELED, "canceled");
	}
	atomic_store(&snapshot->integrity, SNAPSHOT_VERIFIED);
	return 0;
}

int store_drop(struct store *store, const struct snapshot *snapshot, struct err *err)
{
	(void)store;
	(void)snapshot;
	return err_set(err, ERR_INTERNAL, "nothing here is corrupt");
}

void store_usage(struct store *store, uint64_t *ret_snapshots, uint64_t *ret_bytes)
{
	(void)store;
	*ret_snapshots = *ret_bytes = 1;
}

uint32_t store_life(const struct store *store)
{
	(void)store;
	return (uint32_t)getpid();
}

#endif
