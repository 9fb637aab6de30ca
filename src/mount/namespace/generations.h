/*
 * generations: the content of .rpt/generations, from which programs learn without a system call
 * that nothing changed.
 *
 * A sparse array of 8-byte little-endian words, one for each slot (store/store.h). A term's word is
 * the id of its current snapshot, or, after its name went away, an id that no snapshot has. Words
 * only rise. Word 0 is the largest of all, and all ones once the mount is over.
 *
 * The publisher updates the kernel's pages of the file after the name has moved. Pages that the
 * kernel has dropped are read from here. Words are written by one thread at a time and read by any
 * thread, without a lock.
 */
#ifndef MOUNT_NAMESPACE_GENERATIONS_H
#define MOUNT_NAMESPACE_GENERATIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

#define GENERATIONS_NAME "generations"
#define GENERATIONS_SIZE (INT64_C(8) << 20) /* bytes */
#define GENERATIONS_OVER UINT64_MAX	    /* word 0 after the end of the mount */

struct generations;

/* All words are 0. */
int generations_new(struct generations **ret, struct err *err);
/* NULL is allowed. */
void generations_free(struct generations *generations);

DEFINE_CLEANUP(struct generations, generations_free)

/* The word of a slot; 0 if the slot does not exist. */
uint64_t generations_word(const struct generations *generations, uint32_t slot);
/* Does nothing if the word is larger. Raises word 0 as well. */
void generations_raise(struct generations *generations, uint32_t slot, uint64_t id);
void generations_end(struct generations *generations);

/* Copies at most `size` bytes from `offset` on; returns how many. */
size_t generations_read(const struct generations *generations, char *ret, size_t size,
			uint64_t offset);

/* The size in bytes up to the last slot that was ever raised. */
size_t generations_used(const struct generations *generations);

#endif
