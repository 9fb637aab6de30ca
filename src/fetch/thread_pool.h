/*
 * thread_pool: threads that grow on demand and run jobs in the order in which they were submitted.
 *
 * A job that finds no idle thread gets a new one, up to a limit. A thread that finds nothing to do
 * for a second ends; one always stays, so that no job depends on whether a thread can be made.
 * Stacks are small: jobs keep large buffers on the heap.
 */
#ifndef FETCH_THREAD_POOL_H
#define FETCH_THREAD_POOL_H

#include <stddef.h>

#include "base/err.h"

struct thread_pool;

/* Part of whatever is to be run; the caller's until run() was called with it. */
struct thread_pool_job {
	struct thread_pool_job *next;
};

int thread_pool_new(struct thread_pool **ret, size_t max_threads,
		    void (*run)(void *arg, struct thread_pool_job *job), void *arg,
		    struct err *err);

/* Never fails. After thread_pool_stop() the job is ignored. */
void thread_pool_submit(struct thread_pool *pool, struct thread_pool_job *job);

/* Waits for the jobs that run; those that wait are never run. Returns when no thread is left. */
void thread_pool_stop(struct thread_pool *pool);
void thread_pool_free(struct thread_pool *pool);

/* Threads that exist. */
size_t thread_pool_threads(struct thread_pool *pool);

#endif
