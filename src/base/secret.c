#include "base/secret.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <openssl/crypto.h>

#include "base/log.h"

/* Precedes the bytes of each secret. */
struct pages {
	size_t mapped_bytes;
	max_align_t bytes[];
};

static void lock_pages(struct pages *pages, size_t size)
{
	static atomic_bool is_logged;

	madvise(pages, size, MADV_DONTDUMP);
	if (mlock(pages, size) < 0 && !atomic_exchange(&is_logged, true))
		log_event(LOG_LEVEL_WARNING, "memory_not_locked",
			  LOG_STR("error", "keys may be swapped out: raise RLIMIT_MEMLOCK"));
}

void *secret_new(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + sizeof(struct pages) + page - 1) / page * page;
	struct pages *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);
	if (pages == MAP_FAILED)
		return NULL;
	lock_pages(pages, size);
	pages->mapped_bytes = size;
	return pages->bytes;
}

void secret_free(void *secret)
{
	if (!secret)
		return;
	struct pages *pages = container_of(secret, struct pages, bytes);
	size_t size = pages->mapped_bytes;
	OPENSSL_cleanse(pages, size);
	munmap(pages, size);
}

void secret_wipe(void *data, size_t size)
{
	OPENSSL_cleanse(data, size);
}

void *secret_heap_malloc(size_t size)
{
	return malloc(size);
}

/* realloc() would leave the old bytes behind when it moves them. */
void *secret_heap_realloc(void *ptr, size_t size)
{
	size_t old_size = malloc_usable_size(ptr); /* 0 for NULL */
	void *moved = malloc(size);

	if (!moved)
		return NULL;
	if (ptr)
		memcpy(moved, ptr, old_size < size ? old_size : size);
	secret_heap_free(ptr);
	return moved;
}

void secret_heap_free(void *ptr)
{
	if (ptr)
		OPENSSL_cleanse(ptr, malloc_usable_size(ptr));
	free(ptr);
}
