#include "config/pool.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/util.h"

#define CHUNK_BYTES ((size_t)64 << 10)

struct chunk {
	struct chunk *next;
	alignas(max_align_t) char bytes[];
};

/* Strings and lists alike: both are bytes. */
struct entry {
	uint64_t hash;
	const void *bytes; /* NULL: the entry is free */
	size_t len;
};

struct pool {
	struct chunk *chunks;
	size_t used, size;	     /* of the first chunk */
	struct entry *entries;	     /* open addressing */
	size_t n_entries, n_buckets; /* n_buckets is 0 or a power of two */
};

struct pool *pool_new(void)
{
	return calloc(1, sizeof(struct pool));
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	while (pool->chunks) {
		struct chunk *chunk = pool->chunks;
		pool->chunks = chunk->next;
		free(chunk);
	}
	free(pool->entries);
	free(pool);
}

void pool_clear(struct pool *pool)
{
	if (!pool || !pool->chunks)
		return;
	pool_close(pool);
	while (pool->chunks->next) {
		struct chunk *chunk = pool->chunks;
		pool->chunks = chunk->next;
		free(chunk);
	}
	/* The oldest chunk may be larger than the others, never smaller. */
	pool->used = 0;
	pool->size = CHUNK_BYTES;
}

void pool_close(struct pool *pool)
{
	free(steal_ptr(&pool->entries));
	pool->n_entries = pool->n_buckets = 0;
}

/* Uninitialised. */
static void *allocate(struct pool *pool, size_t size, size_t alignment)
{
	size_t start = (pool->used + alignment - 1) & ~(alignment - 1);

	if (!pool->chunks || start > pool->size || size > pool->size - start) {
		size_t wanted = size > CHUNK_BYTES ? size : CHUNK_BYTES;
		struct chunk *chunk = malloc(sizeof(*chunk) + wanted);
		if (!chunk)
			return NULL;
		chunk->next = pool->chunks;
		pool->chunks = chunk;
		pool->size = wanted;
		start = 0;
	}
	pool->used = start + size;
	return pool->chunks->bytes + start;
}

void *pool_alloc(struct pool *pool, size_t size)
{
	void *bytes = allocate(pool, size, sizeof(void *));

	return bytes ? memset(bytes, 0, size) : NULL;
}

const char *pool_copy(struct pool *pool, const char *bytes, size_t len)
{
	char *copy = allocate(pool, len + 1, 1);

	if (!copy)
		return NULL;
	memcpy(copy, bytes, len);
	copy[len] = '\0';
	return copy;
}

static uint64_t hash_of(const char *bytes, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ len;
	uint64_t word = 0;

	for (; len >= sizeof(word); bytes += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	for (; len > 0; bytes++, len--)
		hash = (hash ^ (unsigned char)*bytes) * UINT64_C(0x100000001b3);
	hash *= UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ (hash >> 32);
}

static struct entry *find(struct entry *entries, size_t n_buckets, uint64_t hash, const void *bytes,
			  size_t len)
{
	for (size_t i = hash & (n_buckets - 1);; i = (i + 1) & (n_buckets - 1)) {
		struct entry *entry = &entries[i];
		if (!entry->bytes || (entry->hash == hash && entry->len == len &&
				      memcmp(entry->bytes, bytes, len) == 0))
			return entry;
	}
}

/* Keeps at least half of the entries free. */
static bool grow(struct pool *pool)
{
	size_t n_buckets = pool->n_buckets ? 2 * pool->n_buckets : 256;

	if (2 * pool->n_entries < pool->n_buckets)
		return true;
	struct entry *entries = calloc(n_buckets, sizeof(*entries));
	if (!entries)
		return false;
	for (size_t i = 0; i < pool->n_buckets; i++) {
		const struct entry *old = &pool->entries[i];
		if (old->bytes)
			*find(entries, n_buckets, old->hash, old->bytes, old->len) = *old;
	}
	free(pool->entries);
	pool->entries = entries;
	pool->n_buckets = n_buckets;
	return true;
}

/* The one copy of the bytes, with `padding` zero bytes behind it. */
static const void *intern(struct pool *pool, const void *bytes, size_t len, size_t padding,
			  size_t alignment)
{
	/* Keeps the empty list apart from the empty string. */
	uint64_t hash = hash_of(bytes, len) + alignment;

	if (!grow(pool))
		return NULL;
	struct entry *entry = find(pool->entries, pool->n_buckets, hash, bytes, len);
	if (entry->bytes)
		return entry->bytes;
	char *copy = allocate(pool, len + padding, alignment);
	if (!copy)
		return NULL;
	memcpy(copy, bytes, len);
	memset(copy + len, 0, padding);
	*entry = (struct entry){ hash, copy, len };
	pool->n_entries++;
	return copy;
}

const char *pool_string(struct pool *pool, const char *bytes, size_t len)
{
	return intern(pool, bytes, len, 1, 1);
}

const char *const *pool_list(struct pool *pool, const char *const *strings, size_t n)
{
	return intern(pool, strings, n * sizeof(*strings), sizeof(*strings), sizeof(*strings));
}
