#include "fetchers/s3/s3_parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

/* One that the worker fills, and one that waits for the reader. */
#define BUFFERS_PER_WORKER 2

struct buffer {
	struct s3_parallel *parallel;
	char *data;   /* borrowed from memory; room for one range */
	size_t len;   /* only the worker uses it until is_full */
	bool is_full; /* guarded by lock */
};

struct s3_parallel {
	struct s3_source *source; /* borrowed, as ctx */
	struct fetch_ctx *ctx;
	struct s3_range whole;
	uint64_t range_bytes;
	uint64_t n_ranges;
	size_t n_buffers;   /* range i goes to buffer i % n_buffers */
	char *memory;	    /* owned; a mapping with all buffers */
	pthread_t *workers; /* owned; only the reader uses it */
	size_t n_workers, max_workers;
	bool is_lent; /* the reader uses the buffer of range n_read */

	atomic_bool is_stopping; /* written under lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t n_taken; /* guarded by lock; ranges that a worker has or had */
	uint64_t n_read;  /* guarded by lock */

	/* Guarded by lock: the outcome of the first range that failed. */
	enum s3_range_result result; /* S3_RANGE_OK: none failed */
	uint64_t failed;
	int64_t retry_after_ms;
	struct err err;

	struct buffer buffers[];
};

/* ---- memory ---- */

/* By the buffers of all objects. */
static _Atomic uint64_t used_bytes;

/* Reserves memory for at most n buffers. Returns for how many, or 0 if there would be too few. */
static size_t reserve(size_t n, uint64_t buffer_bytes)
{
	uint64_t used = atomic_load(&used_bytes);
	uint64_t room;

	do {
		room = (S3_PARALLEL_TOTAL_BYTES - used) / buffer_bytes;
		if (room > n)
			room = n;
		if (room < BUFFERS_PER_WORKER)
			return 0;
	} while (!atomic_compare_exchange_weak(&used_bytes, &used, used + room * buffer_bytes));
	return room;
}

static void release(struct s3_parallel *parallel)
{
	size_t bytes = parallel->n_buffers * parallel->range_bytes;

	if (parallel->memory)
		munmap(parallel->memory, bytes);
	atomic_fetch_sub(&used_bytes, bytes);
	free(parallel->workers);
	free(parallel);
}

DEFINE_CLEANUP(struct s3_parallel, release)

uint64_t s3_parallel_range_bytes(const struct s3_source *source)
{
	return source->options->part_size_bytes < S3_PARALLEL_RANGE_BYTES
		       ? source->options->part_size_bytes
		       : S3_PARALLEL_RANGE_BYTES;
}

/* ---- workers ---- */

/* Waits until a range may be taken. Returns false if there are no more. */
static bool take_range(struct s3_parallel *parallel, uint64_t *ret)
{
	pthread_mutex_lock(&parallel->lock);
	while (!parallel->is_stopping && parallel->result == S3_RANGE_OK &&
	       parallel->n_taken < parallel->n_ranges &&
	       parallel->n_taken == parallel->n_read + parallel->n_buffers)
		pthread_cond_wait(&parallel->changed, &parallel->lock);
	bool is_taken = !parallel->is_stopping && parallel->result == S3_RANGE_OK &&
			parallel->n_taken < parallel->n_ranges;
	if (is_taken)
		*ret = parallel->n_taken++;
	pthread_mutex_unlock(&parallel->lock);
	return is_taken;
}

static int take_bytes(void *arg, const void *data, size_t len, struct err *err)
{
	struct buffer *buffer = arg;

	if (atomic_load_explicit(&buffer->parallel->is_stopping, memory_order_relaxed))
		return err_set(err, ERR_CANCELED, "canceled");
	memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
	return 0;
}

static void finish_range(struct s3_parallel *parallel, uint64_t range, enum s3_range_result result,
			 int64_t retry_after_ms, const struct err *err)
{
	pthread_mutex_lock(&parallel->lock);
	if (result == S3_RANGE_OK) {
		parallel->buffers[range % parallel->n_buffers].is_full = true;
	} else if (parallel->result == S3_RANGE_OK || range < parallel->failed) {
		parallel->result = result;
		parallel->failed = range;
		parallel->retry_after_ms = retry_after_ms;
		parallel->err = *err;
	}
	pthread_cond_broadcast(&parallel->changed);
	pthread_mutex_unlock(&parallel->lock);
}

static void *work(void *arg)
{
	struct s3_parallel *parallel = arg;
	uint64_t i;

	pthread_setname_np(pthread_self(), "s3-range");
	while (take_range(parallel, &i)) {
		struct buffer *buffer = &parallel->buffers[i % parallel->n_buffers];
		struct s3_range range = parallel->whole;
		int64_t retry_after_ms = FETCHED_UNKNOWN;
		struct err err = ERR_INIT;

		range.first += i * parallel->range_bytes;
		if (range.end - range.first > parallel->range_bytes)
			range.end = range.first + parallel->range_bytes;
		buffer->len = 0;
		enum s3_range_result result = s3_range_fetch(parallel->source, parallel->ctx,
							     &range, take_bytes, buffer,
							     &retry_after_ms, &err);
		finish_range(parallel, i, result, retry_after_ms, &err);
	}
	return NULL;
}

static void start_workers(struct s3_parallel *parallel, size_t n)
{
	while (parallel->n_workers < n &&
	       pthread_create(&parallel->workers[parallel->n_workers], NULL, work, parallel) == 0)
		parallel->n_workers++;
}

/* ---- life ---- */

static struct s3_parallel *allocate(struct s3_source *source, const struct s3_range *range)
{
	uint64_t range_bytes = s3_parallel_range_bytes(source);
	uint64_t n_ranges = (range->end - range->first + range_bytes - 1) / range_bytes;
	size_t n_workers = s3_source_parallel_parts(source) < n_ranges
				   ? s3_source_parallel_parts(source)
				   : n_ranges;
	size_t n_buffers = reserve(BUFFERS_PER_WORKER * n_workers, range_bytes);
	struct s3_parallel *parallel =
		n_buffers ? calloc(1, sizeof(*parallel) + n_buffers * sizeof(parallel->buffers[0]))
			  : NULL;

	if (!parallel) {
		atomic_fetch_sub(&used_bytes, n_buffers * range_bytes);
		return NULL;
	}
	parallel->range_bytes = range_bytes;
	parallel->n_ranges = n_ranges;
	parallel->n_buffers = n_buffers;
	parallel->max_workers = n_workers;
	return parallel;
}

static int map_memory(struct s3_parallel *parallel)
{
	char *memory = mmap(NULL, parallel->n_buffers * parallel->range_bytes,
			    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	parallel->workers = calloc(parallel->max_workers, sizeof(*parallel->workers));
	if (memory == MAP_FAILED)
		return -1;
	parallel->memory = memory;
	for (size_t i = 0; i < parallel->n_buffers; i++) {
		parallel->buffers[i].parallel = parallel;
		parallel->buffers[i].data = memory + i * parallel->range_bytes;
	}
	return parallel->workers ? 0 : -1;
}

struct s3_parallel *s3_parallel_new(struct s3_source *source, struct fetch_ctx *ctx,
				    const struct s3_range *range)
{
	_cleanup_(release_cleanup) struct s3_parallel *parallel = NULL;

	if (s3_source_parallel_parts(source) < 2)
		return NULL;
	parallel = allocate(source, range);
	if (!parallel || map_memory(parallel) < 0)
		return NULL;
	parallel->source = source;
	parallel->ctx = ctx;
	parallel->whole = *range;
	pthread_mutex_init(&parallel->lock, NULL);
	pthread_cond_init(&parallel->changed, NULL);
	/* The caller's own transfer counts as one. */
	start_workers(parallel, parallel->max_workers > 1 ? parallel->max_workers - 1 : 1);
	return parallel->n_workers ? steal_ptr(&parallel) : NULL;
}

void s3_parallel_free(struct s3_parallel *parallel)
{
	if (!parallel)
		return;
	pthread_mutex_lock(&parallel->lock);
	parallel->is_stopping = true;
	pthread_cond_broadcast(&parallel->changed);
	pthread_mutex_unlock(&parallel->lock);
	for (size_t i = 0; i < parallel->n_workers; i++)
		pthread_join(parallel->workers[i], NULL);
	pthread_cond_destroy(&parallel->changed);
	pthread_mutex_destroy(&parallel->lock);
	release(parallel);
}

/* ---- the reader ---- */

/* The caller holds the lock. Ranges before the failed one are still delivered, so that the next
 * attempt need not fetch them again. */
static bool is_ready(const struct s3_parallel *parallel)
{
	if (parallel->n_read == parallel->n_ranges)
		return true;
	if (parallel->result != S3_RANGE_OK &&
	    (parallel->result != S3_RANGE_FAILED || parallel->failed == parallel->n_read))
		return true;
	return parallel->buffers[parallel->n_read % parallel->n_buffers].is_full;
}

enum s3_range_result s3_parallel_next(struct s3_parallel *parallel, const void **ret_data,
				      size_t *ret_len, int64_t *ret_retry_after_ms, struct err *err)
{
	enum s3_range_result result = S3_RANGE_OK;

	start_workers(parallel, parallel->max_workers);
	pthread_mutex_lock(&parallel->lock);
	if (parallel->is_lent) {
		parallel->buffers[parallel->n_read % parallel->n_buffers].is_full = false;
		parallel->n_read++;
		pthread_cond_broadcast(&parallel->changed);
	}
	while (!is_ready(parallel))
		pthread_cond_wait(&parallel->changed, &parallel->lock);
	struct buffer *buffer = &parallel->buffers[parallel->n_read % parallel->n_buffers];
	parallel->is_lent = buffer->is_full;
	if (buffer->is_full) {
		*ret_data = buffer->data;
		*ret_len = buffer->len;
	} else if (parallel->n_read == parallel->n_ranges) {
		*ret_len = 0;
	} else {
		result = parallel->result;
		*ret_retry_after_ms = parallel->retry_after_ms;
		*err = parallel->err;
	}
	pthread_mutex_unlock(&parallel->lock);
	return result;
}
