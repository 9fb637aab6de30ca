/*
 * thread_pool: threads that are started on demand, and run jobs in the order of submission.
 *
 * A job that finds no idle thread starts one, up to a limit. A thread that is idle for a second
 * ends. One thread always stays, so that no job depends on whether a thread can be started. Stacks
 * are small: jobs keep large buffers on the heap.
 */
#ifndef FETCH_THREAD_POOL_H
#define FETCH_THREAD_POOL_H

#include <stddef.h>

#include "base/err.h"

struct thread_pool;

/* Embedded in each job. The pool owns it until it calls run() with it. */
struct thread_pool_job {
	struct thread_pool_job *next;
};

int thread_pool_new(struct thread_pool **ret, size_t max_threads,
		    void (*run)(void *arg, struct thread_pool_job *job), void *arg,
		    struct err *err);

/* Never fails. After thread_pool_stop() the job is ignored. */
void thread_pool_submit(struct thread_pool *pool, struct thread_pool_job *job);

/* Waits until no thread is left. Jobs that have not begun are dropped. */
void thread_pool_stop(struct thread_pool *pool);
void thread_pool_free(struct thread_pool *pool);

/* The number of threads. */
size_t thread_pool_threads(struct thread_pool *pool);

#endif
