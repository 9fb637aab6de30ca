#include "fetch/thread_pool.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "base/clock.h"
#include "base/util.h"

#define IDLE_MS 1000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#	define STACK_BYTES (1024 * 1024)
#elif defined(__has_feature)
#	if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#		define STACK_BYTES (1024 * 1024)
#	endif
#endif
#ifndef STACK_BYTES
#	define STACK_BYTES (128 * 1024)
#endif

struct thread_pool {
	void (*run)(void *arg, struct thread_pool_job *job);
	void *arg;
	size_t max_threads;

	pthread_mutex_t lock;
	pthread_cond_t work;	       /* a job waits, or the pool stops */
	pthread_cond_t ended;	       /* a thread has ended */
	struct thread_pool_job *first; /* guarded by lock */
	struct thread_pool_job **last; /* guarded by lock; where the next one is linked */
	size_t n_jobs;		       /* guarded by lock; waiting */
	size_t n_idle;	  /* guarded by lock; threads that have no job, or are starting */
	size_t n_threads; /* guarded by lock */
	bool is_stopping; /* guarded by lock */
};

/* With the lock held. False: no job has come for so long that the thread may end. */
static bool wait_for_work(struct thread_pool *pool)
{
	struct timespec until = clock_after(IDLE_MS);
	int result = 0;

	while (!pool->first && !pool->is_stopping && result == 0) {
		/* The last thread waits without a time-out, so that an idle worker sleeps. */
		if (pool->n_threads == 1)
			pthread_cond_wait(&pool->work, &pool->lock);
		else
			result = pthread_cond_clockwait(&pool->work, &pool->lock, CLOCK_MONOTONIC,
							&until);
	}
	return pool->is_stopping || pool->first || pool->n_threads == 1;
}

static struct thread_pool_job *next_job(struct thread_pool *pool)
{
	struct thread_pool_job *job = pool->first;

	pool->first = job->next;
	if (!pool->first)
		pool->last = &pool->first;
	pool->n_jobs--;
	return job;
}

static void *thread_main(void *arg)
{
	struct thread_pool *pool = arg;

	pthread_setname_np(pthread_self(), "update");
	pthread_mutex_lock(&pool->lock);
	while (wait_for_work(pool) && !pool->is_stopping) {
		if (!pool->first)
			continue;
		struct thread_pool_job *job = next_job(pool);
		pool->n_idle--;
		pthread_mutex_unlock(&pool->lock);
		pool->run(pool->arg, job);
		pthread_mutex_lock(&pool->lock);
		pool->n_idle++;
	}
	pool->n_idle--;
	bool is_calm = --pool->n_threads <= 1 && !pool->is_stopping;
	pthread_cond_signal(&pool->ended);
	pthread_mutex_unlock(&pool->lock);
	/* After a burst, the memory of hundreds of downloads goes back to the system. */
	if (is_calm)
		malloc_trim(0);
	return NULL;
}

static int start_thread(struct thread_pool *pool)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (pthread_attr_init(&attr) != 0)
		return -1;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int result = pthread_create(&thread, &attr, thread_main, pool);
	pthread_attr_destroy(&attr);
	errno = result;
	return result == 0 ? 0 : -1;
}

int thread_pool_new(struct thread_pool **ret, size_t max_threads,
		    void (*run)(void *arg, struct thread_pool_job *job), void *arg, struct err *err)
{
	_cleanup_free_ struct thread_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return err_set(err, ERR_INTERNAL, "update threads: out of memory");
	pool->run = run;
	pool->arg = arg;
	pool->max_threads = max_threads;
	pool->last = &pool->first;
	pool->n_threads = pool->n_idle = 1;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->ended, NULL);
	if (start_thread(pool) < 0)
		return err_errno(err, "starting the first update thread");
	*ret = steal_ptr(&pool);
	return 0;
}

void thread_pool_submit(struct thread_pool *pool, struct thread_pool_job *job)
{
	pthread_mutex_lock(&pool->lock);
	job->next = NULL;
	*pool->last = job;
	pool->last = &job->next;
	pool->n_jobs++;
	bool grow = pool->n_jobs > pool->n_idle && pool->n_threads < pool->max_threads &&
		    !pool->is_stopping;
	if (grow) {
		pool->n_threads++;
		pool->n_idle++;
	} else {
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);

	if (grow && start_thread(pool) < 0) {
		/* One of the existing threads takes the job. */
		pthread_mutex_lock(&pool->lock);
		pool->n_threads--;
		pool->n_idle--;
		pthread_cond_signal(&pool->work);
		pthread_cond_signal(&pool->ended);
		pthread_mutex_unlock(&pool->lock);
	}
}

void thread_pool_stop(struct thread_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->is_stopping = true;
	pthread_cond_broadcast(&pool->work);
	while (pool->n_threads > 0)
		pthread_cond_wait(&pool->ended, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

void thread_pool_free(struct thread_pool *pool)
{
	if (!pool)
		return;
	pthread_cond_destroy(&pool->ended);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

size_t thread_pool_threads(struct thread_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	size_t n = pool->n_threads;
	pthread_mutex_unlock(&pool->lock);
	return n;
}
