/*
 * pool: the memory of one configuration.
 *
 * Values are allocated one after the other in large chunks and freed together. Equal strings and
 * equal lists are stored once: many terms usually have the same proxy and the same credentials. A
 * pool is used by one thread while it is filled, and is constant afterwards.
 */
#ifndef CONFIG_POOL_H
#define CONFIG_POOL_H

#include <stddef.h>

struct pool;

/* NULL: out of memory. */
struct pool *pool_new(void);
void pool_free(struct pool *pool);
/* Frees everything that was allocated, but keeps some memory for reuse. NULL is allowed. */
void pool_clear(struct pool *pool);

/* Each returns NULL if out of memory. Results live as long as the pool. */

/* Zeroed and aligned for any type. */
void *pool_alloc(struct pool *pool, size_t size);
/* A copy of these bytes, which contain no NUL, with a NUL behind them. */
const char *pool_copy(struct pool *pool, const char *bytes, size_t len);
/* The one copy of these bytes, which contain no NUL, with a NUL behind them. */
const char *pool_string(struct pool *pool, const char *bytes, size_t len);
/* The one copy of this list of n strings of the pool, with a NULL behind them. */
const char *const *pool_list(struct pool *pool, const char *const *strings, size_t n);

/* Frees the index of equal values. Nothing can be added afterwards. */
void pool_close(struct pool *pool);

#endif
