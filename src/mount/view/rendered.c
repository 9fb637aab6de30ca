#include "mount/view/rendered.h"

#include <pthread.h>
#include <string.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/util.h"

/* Of the numbers that programs see; that of an id of the store is smaller. */
#define INO_BIT	       (UINT32_C(1) << 31)
#define INO_LIFE_SHIFT 20

struct held {
	struct rendering rendering;
	uint64_t lookups; /* guarded by rendered.lock; freed at 0 */
	UT_hash_handle hh;
};

struct rendered {
	const struct rendered_file *files;
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

int rendered_new(struct rendered **ret, const struct rendered_file *files, size_t n_files,
		 uint32_t life, struct err *err)
{
	struct rendered *rendered = calloc(1, sizeof(*rendered));

	if (!rendered || !(rendered->recent = calloc(n_files + 1, sizeof(*rendered->recent)))) {
		free(rendered);
		return err_set(err, ERR_INTERNAL, ".rpt: out of memory");
	}
	rendered->files = files;
	rendered->n_files = n_files;
	rendered->life = life;
	pthread_mutex_init(&rendered->lock, NULL);
	*ret = rendered;
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

void rendered_free(struct rendered *rendered)
{
	struct held *held, *next;

	if (!rendered)
		return;
	HASH_ITER(hh, rendered->by_id, held, next) {
		HASH_DEL(rendered->by_id, held);
		held_free(held);
	}
	pthread_mutex_destroy(&rendered->lock);
	free(rendered->recent);
	free(rendered);
}

bool rendered_list(const struct rendered *rendered, size_t index, const char **ret_name,
		   uint32_t *ret_ino)
{
	if (index >= rendered->n_files)
		return false;
	*ret_name = rendered->files[index].name;
	*ret_ino = INO_BIT | (uint32_t)(index + 1);
	return true;
}

/* With the lock held: takes look-ups back. If none is left the rendering leaves the table, and is
 * returned to be freed. */
static struct held *put(struct rendered *rendered, struct held *held, uint64_t count)
{
	held->lookups -= count < held->lookups ? count : held->lookups;
	if (held->lookups)
		return NULL;
	HASH_DEL(rendered->by_id, held);
	return held;
}

static bool is_reusable(const struct recent *recent)
{
	return recent->held && clock_boot_ms() - recent->rendered_at_boot_ms < RENDERED_REUSE_MS;
}

/* With the lock held: if only `recent` holds the rendering and it is too old to be used again,
 * returns it to be freed. Some have dozens of megabytes. */
static struct held *drop_unused(struct rendered *rendered, struct held *held)
{
	for (size_t i = 0; i < rendered->n_files; i++) {
		struct recent *recent = &rendered->recent[i];
		if (recent->held != held || held->lookups > 1 || is_reusable(recent))
			continue;
		recent->held = NULL;
		return put(rendered, held, 1);
	}
	return NULL;
}

void rendered_forget(struct rendered *rendered, uint64_t id, uint64_t count)
{
	_cleanup_(held_free_cleanup) struct held *unused = NULL;
	struct held *held = NULL;

	pthread_mutex_lock(&rendered->lock);
	HASH_FIND(hh, rendered->by_id, &id, sizeof(id), held);
	if (held)
		unused = put(rendered, held, count);
	if (held && !unused)
		unused = drop_unused(rendered, held);
	pthread_mutex_unlock(&rendered->lock);
}

static struct held *get_recent(struct rendered *rendered, size_t index)
{
	struct recent *recent = &rendered->recent[index];
	struct held *held = NULL;

	pthread_mutex_lock(&rendered->lock);
	if (is_reusable(recent)) {
		held = recent->held;
		held->lookups++;
	}
	pthread_mutex_unlock(&rendered->lock);
	return held;
}

/* With the lock held: gives the rendering an id of its own. */
static void enter(struct rendered *rendered, struct held *held)
{
	uint32_t n = UINT32_C(0x100) + rendered->serial++;

	held->rendering.id = RENDERED_ID_BIT | (uint64_t)(rendered->life & INT32_MAX) << 32 | n;
	held->rendering.ino = INO_BIT | (rendered->life << INO_LIFE_SHIFT & ~INO_BIT) |
			      (n & ((UINT32_C(1) << INO_LIFE_SHIFT) - 1));
	HASH_ADD(hh, rendered->by_id, rendering.id, sizeof(held->rendering.id), held);
}

/* The rendering becomes the recent one (one look-up), and the caller's (another). */
static void set_recent(struct rendered *rendered, size_t index, struct held *held)
{
	struct recent *recent = &rendered->recent[index];
	struct held *old;

	pthread_mutex_lock(&rendered->lock);
	held->lookups = 2;
	enter(rendered, held);
	old = recent->held;
	recent->held = held;
	recent->rendered_at_boot_ms = clock_boot_ms();
	pthread_mutex_unlock(&rendered->lock);
	if (old)
		rendered_forget(rendered, old->rendering.id, 1);
}

static int render(const struct rendered_file *file, struct held **ret, struct err *err)
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

int rendered_lookup(struct rendered *rendered, const char *name, const struct rendering **ret,
		    struct err *err)
{
	for (size_t i = 0; i < rendered->n_files; i++) {
		struct held *held;
		if (strcmp(rendered->files[i].name, name) != 0)
			continue;
		held = get_recent(rendered, i);
		if (!held) {
			if (render(&rendered->files[i], &held, err) < 0)
				return -1;
			set_recent(rendered, i, held);
		}
		*ret = &held->rendering;
		return 0;
	}
	return err_set(err, ERR_NOT_FOUND, "no file .rpt/%s", name);
}

const struct rendering *rendered_get(struct rendered *rendered, uint64_t id)
{
	struct held *held = NULL;

	pthread_mutex_lock(&rendered->lock);
	HASH_FIND(hh, rendered->by_id, &id, sizeof(id), held);
	if (held)
		held->lookups++;
	pthread_mutex_unlock(&rendered->lock);
	return held ? &held->rendering : NULL;
}
