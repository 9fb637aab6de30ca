#include "mount/view/virtual.h"

#include <pthread.h>
#include <string.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/util.h"

struct held {
	struct rendering rendering;
	uint64_t lookups; /* guarded by virtual.lock; freed at 0 */
	UT_hash_handle hh;
};

struct virtual
{
	const struct fs_virtual *files;
	size_t n_files;
	uint32_t life;
	pthread_mutex_t lock;
	uint32_t serial;    /* guarded by lock */
	struct held *by_id; /* guarded by lock */
	struct recent {
		struct held *held; /* owns one look-up; NULL: none yet */
		int64_t rendered_at_boot_ms;
	} * recent; /* guarded by lock; one for each file */
};

int virtual_new(struct virtual **ret, const struct fs_virtual *files, size_t n_files, uint32_t life,
		struct err *err)
{
	struct virtual *virtual = calloc(1, sizeof(*virtual));

	if (!virtual || !(virtual->recent = calloc(n_files + 1, sizeof(*virtual->recent)))) {
		free(virtual);
		return err_set(err, ERR_INTERNAL, ".rpt: out of memory");
	}
	virtual->files = files;
	virtual->n_files = n_files;
	virtual->life = life;
	pthread_mutex_init(&virtual->lock, NULL);
	*ret = virtual;
	return 0;
}

static void held_free(struct held *held)
{
	if (!held)
		return;
	free(held->rendering.text);
	free(held);
}

DEFINE_CLEANUP(struct held, held_free)

void virtual_free(struct virtual *virtual)
{
	struct held *held, *next;

	if (!virtual)
		return;
	HASH_ITER(hh, virtual->by_id, held, next) {
		HASH_DEL(virtual->by_id, held);
		held_free(held);
	}
	pthread_mutex_destroy(&virtual->lock);
	free(virtual->recent);
	free(virtual);
}

bool virtual_list(const struct virtual *virtual, size_t index, const char **ret_name,
		  uint64_t *ret_ino)
{
	if (index >= virtual->n_files)
		return false;
	*ret_name = virtual->files[index].name;
	*ret_ino = VIRTUAL_ID_BIT | (uint64_t)(index + 1);
	return true;
}

/* With the lock held: takes back look-ups; what nobody looks at any more is returned to be freed.
 */
static struct held *put(struct virtual *virtual, struct held *held, uint64_t count)
{
	held->lookups -= count < held->lookups ? count : held->lookups;
	if (held->lookups)
		return NULL;
	HASH_DEL(virtual->by_id, held);
	return held;
}

void virtual_forget(struct virtual *virtual, uint64_t id, uint64_t count)
{
	_cleanup_(held_free_cleanup) struct held *unused = NULL;
	struct held *held = NULL;

	pthread_mutex_lock(&virtual->lock);
	HASH_FIND(hh, virtual->by_id, &id, sizeof(id), held);
	if (held)
		unused = put(virtual, held, count);
	pthread_mutex_unlock(&virtual->lock);
}

static struct held *get_recent(struct virtual *virtual, size_t index)
{
	struct recent *recent = &virtual->recent[index];
	struct held *held = NULL;

	pthread_mutex_lock(&virtual->lock);
	if (recent->held && clock_boot_ms() - recent->rendered_at_boot_ms < VIRTUAL_REUSE_MS) {
		held = recent->held;
		held->lookups++;
	}
	pthread_mutex_unlock(&virtual->lock);
	return held;
}

/* With the lock held: gives the rendering an id of its own. */
static void enter(struct virtual *virtual, struct held *held)
{
	held->rendering.id = VIRTUAL_ID_BIT | (uint64_t)(virtual->life & INT32_MAX) << 32 |
			     (UINT32_C(0x100) + virtual->serial++);
	HASH_ADD(hh, virtual->by_id, rendering.id, sizeof(held->rendering.id), held);
}

/* The rendering becomes the recent one (one look-up), and the caller's (another). */
static void set_recent(struct virtual *virtual, size_t index, struct held *held)
{
	struct recent *recent = &virtual->recent[index];
	struct held *old;

	pthread_mutex_lock(&virtual->lock);
	held->lookups = 2;
	enter(virtual, held);
	old = recent->held;
	recent->held = held;
	recent->rendered_at_boot_ms = clock_boot_ms();
	pthread_mutex_unlock(&virtual->lock);
	if (old)
		virtual_forget(virtual, old->rendering.id, 1);
}

static int render(const struct fs_virtual *file, struct held **ret, struct err *err)
{
	_cleanup_(held_free_cleanup) struct held *held = calloc(1, sizeof(*held));

	if (!held)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", file->name);
	held->rendering.rendered_at_ms = clock_wall_ms();
	if (file->render(file->arg, &held->rendering.text, &held->rendering.len, err) < 0)
		return -1;
	*ret = steal_ptr(&held);
	return 0;
}

int virtual_lookup(struct virtual *virtual, const char *name, const struct rendering **ret,
		   struct err *err)
{
	for (size_t i = 0; i < virtual->n_files; i++) {
		struct held *held;
		if (strcmp(virtual->files[i].name, name) != 0)
			continue;
		held = get_recent(virtual, i);
		if (!held) {
			if (render(&virtual->files[i], &held, err) < 0)
				return -1;
			set_recent(virtual, i, held);
		}
		*ret = &held->rendering;
		return 0;
	}
	return err_set(err, ERR_NOT_FOUND, "no virtual file \"%s\"", name);
}

const struct rendering *virtual_get(struct virtual *virtual, uint64_t id)
{
	struct held *held = NULL;

	pthread_mutex_lock(&virtual->lock);
	HASH_FIND(hh, virtual->by_id, &id, sizeof(id), held);
	if (held)
		held->lookups++;
	pthread_mutex_unlock(&virtual->lock);
	return held ? &held->rendering : NULL;
}
