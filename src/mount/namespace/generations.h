/*
 * generations: the bytes of .rpt/generations, by which programs learn without a system call that
 * nothing changed.
 *
 * A sparse array of 8-byte little-endian words, one for each slot (store/store.h). A term's word is
 * the id of its current snapshot; when its name goes away, an id that is nobody's. Words only rise.
 * Word 0 is the largest of all, and all ones once the mount is over.
 *
 * The kernel's pages of the file are brought up to date by the publisher, after the name has moved;
 * pages that the kernel has dropped are read from here. Words are written by one thread at a time
 * and read by any: no lock.
 */
#ifndef MOUNT_NAMESPACE_GENERATIONS_H
#define MOUNT_NAMESPACE_GENERATIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

#define GENERATIONS_NAME "generations"
#define GENERATIONS_SIZE (INT64_C(8) << 20) /* bytes */
#define GENERATIONS_OVER UINT64_MAX	    /* word 0 of a mount that is over */

struct generations;

/* All words are 0. */
int generations_new(struct generations **ret, struct err *err);
/* NULL is allowed. */
void generations_free(struct generations *generations);

DEFINE_CLEANUP(struct generations, generations_free)

/* The id that a slot's word is. */
uint64_t generations_word(const struct generations *generations, uint32_t slot);
/* A smaller value than the word has changes nothing. Word 0 follows. */
void generations_raise(struct generations *generations, uint32_t slot, uint64_t id);
void generations_end(struct generations *generations);

/* Copies what there is from `offset` on, at most `size` bytes; returns how many. */
size_t generations_read(const struct generations *generations, char *ret, size_t size,
			uint64_t offset);

/* How many bytes there are up to the last slot that was ever raised, in whole words. */
size_t generations_used(const struct generations *generations);

#endif
