#include "mount/namespace/generations.h"

#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define N_WORDS (GENERATIONS_SIZE / (int64_t)sizeof(uint64_t))

struct generations {
	_Atomic uint64_t *words; /* mapped: pages that were never written take no memory */
	uint32_t n_used;	 /* the publisher's */
};

int generations_new(struct generations **ret, struct err *err)
{
	_cleanup_(generations_free_cleanup) struct generations *generations = calloc(
		1, sizeof(*generations));

	if (!generations)
		return err_set(err, ERR_INTERNAL, "generations: out of memory");
	void *mapping = mmap(NULL, GENERATIONS_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapping == MAP_FAILED)
		return err_errno(err, "generations: mmap");
	generations->words = mapping;
	generations->n_used = 1;
	*ret = steal_ptr(&generations);
	return 0;
}

void generations_free(struct generations *generations)
{
	if (!generations)
		return;
	if (generations->words)
		munmap(generations->words, GENERATIONS_SIZE);
	free(generations);
}

uint64_t generations_word(const struct generations *generations, uint32_t slot)
{
	return slot < N_WORDS ? le64toh(atomic_load(&generations->words[slot])) : 0;
}

static void raise_word(_Atomic uint64_t *word, uint64_t value)
{
	if (le64toh(atomic_load(word)) < value)
		atomic_store(word, htole64(value));
}

void generations_raise(struct generations *generations, uint32_t slot, uint64_t id)
{
	if (slot >= N_WORDS)
		return;
	raise_word(&generations->words[slot], id);
	raise_word(&generations->words[0], id);
	if (slot >= generations->n_used)
		generations->n_used = slot + 1;
}

void generations_end(struct generations *generations)
{
	raise_word(&generations->words[0], GENERATIONS_OVER);
}

size_t generations_read(const struct generations *generations, char *ret, size_t size,
			uint64_t offset)
{
	size_t left = offset < GENERATIONS_SIZE ? (size_t)(GENERATIONS_SIZE - offset) : 0;
	size_t len = size < left ? size : left, done = 0;

	while (done < len) {
		size_t start = (offset + done) % sizeof(uint64_t);
		size_t n = sizeof(uint64_t) - start < len - done ? sizeof(uint64_t) - start
								 : len - done;
		uint64_t word = atomic_load(
			&generations->words[(offset + done) / sizeof(uint64_t)]);
		memcpy(ret + done, (const char *)&word + start, n);
		done += n;
	}
	return len;
}

size_t generations_used(const struct generations *generations)
{
	return generations->n_used * sizeof(uint64_t);
}
