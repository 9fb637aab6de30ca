/*
 * pool: threads that grow on demand and run jobs in the order in which they were submitted.
 *
 * A job that finds no idle thread gets a new one, up to a limit. A thread that finds nothing to do
 * for a second ends; one always stays, so that no job depends on whether a thread can be made.
 * Stacks are small: jobs keep large buffers on the heap.
 */
#ifndef FETCH_POOL_H
#define FETCH_POOL_H

#include <stddef.h>

#include "base/err.h"

struct pool;

/* Part of whatever is to be run; the caller's until run() was called with it. */
struct pool_job {
	struct pool_job *next;
};

int pool_new(struct pool **ret, size_t max_threads, void (*run)(void *arg, struct pool_job *job),
	     void *arg, struct err *err);

/* Never fails. After pool_stop() the job is ignored. */
void pool_submit(struct pool *pool, struct pool_job *job);

/* Waits for the jobs that run; those that wait are never run. Returns when no thread is left. */
void pool_stop(struct pool *pool);
void pool_free(struct pool *pool);

/* Threads that exist. */
size_t pool_threads(struct pool *pool);

#endif
