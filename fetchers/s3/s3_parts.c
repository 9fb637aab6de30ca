#include "fetchers/s3/s3_parts.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

/* For each worker so many slots: one that it fills, and one that waits for its turn. */
#define SLOTS_PER_WORKER 2

struct slot {
	struct s3_parts *parts;
	char *data;   /* borrowed from the window; room for one range */
	size_t len;   /* the worker's, until it is full */
	bool is_full; /* guarded by lock */
};

struct s3_parts {
	struct s3_source *source; /* borrowed, as ctx */
	struct fetch_ctx *ctx;
	struct s3_range whole;
	uint64_t range_bytes;
	uint64_t n_ranges;
	size_t n_slots;	    /* range i goes to slot i % n_slots */
	char *window;	    /* owned; a mapping */
	pthread_t *workers; /* owned; the reader's */
	size_t n_workers, max_workers;
	bool is_lent; /* the reader has the slot of range n_read */

	atomic_bool is_stopping; /* written under lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t n_taken; /* guarded by lock; ranges that a worker has or had */
	uint64_t n_read;  /* guarded by lock */

	/* Guarded by lock: what went wrong, with the first range that it did with. */
	enum s3_range_result result;
	uint64_t failed;
	int64_t retry_after_ms;
	struct err err;

	struct slot slots[];
};

/* ---- memory ---- */

/* What all windows take up. */
static _Atomic uint64_t windows_bytes;

/* So many slots there is room for, at most n; 0 rather than too few. */
static size_t reserve(size_t n, uint64_t slot_bytes)
{
	uint64_t used = atomic_load(&windows_bytes);
	uint64_t room;

	do {
		room = (S3_PARTS_TOTAL_BYTES - used) / slot_bytes;
		if (room > n)
			room = n;
		if (room < SLOTS_PER_WORKER)
			return 0;
	} while (!atomic_compare_exchange_weak(&windows_bytes, &used, used + room * slot_bytes));
	return room;
}

static void release(struct s3_parts *parts)
{
	size_t bytes = parts->n_slots * parts->range_bytes;

	if (parts->window)
		munmap(parts->window, bytes);
	atomic_fetch_sub(&windows_bytes, bytes);
	free(parts->workers);
	free(parts);
}

DEFINE_CLEANUP(struct s3_parts, release)

uint64_t s3_parts_range_bytes(const struct s3_source *source)
{
	return source->part_size_bytes < S3_PARTS_RANGE_BYTES ? source->part_size_bytes
							      : S3_PARTS_RANGE_BYTES;
}

/* ---- workers ---- */

/* Waits until a range may be taken. False: there are no more. */
static bool take_range(struct s3_parts *parts, uint64_t *ret)
{
	pthread_mutex_lock(&parts->lock);
	while (!parts->is_stopping && parts->result == S3_RANGE_OK &&
	       parts->n_taken < parts->n_ranges && parts->n_taken == parts->n_read + parts->n_slots)
		pthread_cond_wait(&parts->changed, &parts->lock);
	bool is_taken = !parts->is_stopping && parts->result == S3_RANGE_OK &&
			parts->n_taken < parts->n_ranges;
	if (is_taken)
		*ret = parts->n_taken++;
	pthread_mutex_unlock(&parts->lock);
	return is_taken;
}

static int take_bytes(void *arg, const void *data, size_t len, struct err *err)
{
	struct slot *slot = arg;

	if (atomic_load_explicit(&slot->parts->is_stopping, memory_order_relaxed))
		return err_set(err, ERR_CANCELED, "no longer wanted");
	memcpy(slot->data + slot->len, data, len);
	slot->len += len;
	return 0;
}

static void finish_range(struct s3_parts *parts, uint64_t range, enum s3_range_result result,
			 int64_t retry_after_ms, const struct err *err)
{
	pthread_mutex_lock(&parts->lock);
	if (result == S3_RANGE_OK) {
		parts->slots[range % parts->n_slots].is_full = true;
	} else if (parts->result == S3_RANGE_OK || range < parts->failed) {
		parts->result = result;
		parts->failed = range;
		parts->retry_after_ms = retry_after_ms;
		parts->err = *err;
	}
	pthread_cond_broadcast(&parts->changed);
	pthread_mutex_unlock(&parts->lock);
}

static void *work(void *arg)
{
	struct s3_parts *parts = arg;
	uint64_t i;

	pthread_setname_np(pthread_self(), "s3-part");
	while (take_range(parts, &i)) {
		struct slot *slot = &parts->slots[i % parts->n_slots];
		struct s3_range range = parts->whole;
		int64_t retry_after_ms = FETCHED_UNKNOWN;
		struct err err = ERR_INIT;

		range.first += i * parts->range_bytes;
		if (range.end - range.first > parts->range_bytes)
			range.end = range.first + parts->range_bytes;
		slot->len = 0;
		enum s3_range_result result = s3_range_fetch(
			parts->source, parts->ctx, &range, take_bytes, slot, &retry_after_ms, &err);
		finish_range(parts, i, result, retry_after_ms, &err);
	}
	return NULL;
}

static void start_workers(struct s3_parts *parts, size_t n)
{
	while (parts->n_workers < n &&
	       pthread_create(&parts->workers[parts->n_workers], NULL, work, parts) == 0)
		parts->n_workers++;
}

/* ---- life ---- */

static struct s3_parts *allocate(struct s3_source *source, const struct s3_range *range)
{
	uint64_t range_bytes = s3_parts_range_bytes(source);
	uint64_t n_ranges = (range->end - range->first + range_bytes - 1) / range_bytes;
	size_t n_workers = source->parallel_parts < n_ranges ? source->parallel_parts : n_ranges;
	size_t n_slots = reserve(SLOTS_PER_WORKER * n_workers, range_bytes);
	struct s3_parts *parts =
		n_slots ? calloc(1, sizeof(*parts) + n_slots * sizeof(parts->slots[0])) : NULL;

	if (!parts) {
		atomic_fetch_sub(&windows_bytes, n_slots * range_bytes);
		return NULL;
	}
	parts->range_bytes = range_bytes;
	parts->n_ranges = n_ranges;
	parts->n_slots = n_slots;
	parts->max_workers = n_workers;
	return parts;
}

static int make_window(struct s3_parts *parts)
{
	char *window = mmap(NULL, parts->n_slots * parts->range_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	parts->workers = calloc(parts->max_workers, sizeof(*parts->workers));
	if (window == MAP_FAILED)
		return -1;
	parts->window = window;
	for (size_t i = 0; i < parts->n_slots; i++) {
		parts->slots[i].parts = parts;
		parts->slots[i].data = window + i * parts->range_bytes;
	}
	return parts->workers ? 0 : -1;
}

struct s3_parts *s3_parts_new(struct s3_source *source, struct fetch_ctx *ctx,
			      const struct s3_range *range)
{
	_cleanup_(release_cleanup) struct s3_parts *parts = NULL;

	if (source->parallel_parts < 2)
		return NULL;
	parts = allocate(source, range);
	if (!parts || make_window(parts) < 0)
		return NULL;
	parts->source = source;
	parts->ctx = ctx;
	parts->whole = *range;
	pthread_mutex_init(&parts->lock, NULL);
	pthread_cond_init(&parts->changed, NULL);
	/* The caller's own transfer counts. */
	start_workers(parts, parts->max_workers > 1 ? parts->max_workers - 1 : 1);
	return parts->n_workers ? steal_ptr(&parts) : NULL;
}

void s3_parts_free(struct s3_parts *parts)
{
	if (!parts)
		return;
	pthread_mutex_lock(&parts->lock);
	parts->is_stopping = true;
	pthread_cond_broadcast(&parts->changed);
	pthread_mutex_unlock(&parts->lock);
	for (size_t i = 0; i < parts->n_workers; i++)
		pthread_join(parts->workers[i], NULL);
	pthread_cond_destroy(&parts->changed);
	pthread_mutex_destroy(&parts->lock);
	release(parts);
}

/* ---- the reader ---- */

/* The lock is held. Ranges before the one that failed still count: they need not be fetched again
 * by the next attempt. */
static bool is_ready(const struct s3_parts *parts)
{
	if (parts->n_read == parts->n_ranges)
		return true;
	if (parts->result != S3_RANGE_OK &&
	    (parts->result != S3_RANGE_FAILED || parts->failed == parts->n_read))
		return true;
	return parts->slots[parts->n_read % parts->n_slots].is_full;
}

enum s3_range_result s3_parts_next(struct s3_parts *parts, const void **ret_data, size_t *ret_len,
				   int64_t *ret_retry_after_ms, struct err *err)
{
	enum s3_range_result result = S3_RANGE_OK;

	start_workers(parts, parts->max_workers);
	pthread_mutex_lock(&parts->lock);
	if (parts->is_lent) {
		parts->slots[parts->n_read % parts->n_slots].is_full = false;
		parts->n_read++;
		pthread_cond_broadcast(&parts->changed);
	}
	while (!is_ready(parts))
		pthread_cond_wait(&parts->changed, &parts->lock);
	struct slot *slot = &parts->slots[parts->n_read % parts->n_slots];
	parts->is_lent = slot->is_full;
	if (slot->is_full) {
		*ret_data = slot->data;
		*ret_len = slot->len;
	} else if (parts->n_read == parts->n_ranges) {
		*ret_len = 0;
	} else {
		result = parts->result;
		*ret_retry_after_ms = parts->retry_after_ms;
		*err = parts->err;
	}
	pthread_mutex_unlock(&parts->lock);
	return result;
}
