/*
 * proof: content that proves itself.
 *
 * A self-proving file is a pure function of its name, a version number and its size. Each block of
 * 4 KiB starts with a header that holds all three, the block's offset, and a checksum of the whole
 * block. A reader can therefore tell from any single block whether it is intact, and its version.
 */
#ifndef TESTS_PROOF_H
#define TESTS_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROOF_BLOCK 4096

struct proof {
	uint64_t name_hash;
	uint64_t version;
	uint64_t size_bytes; /* a multiple of 8, at least PROOF_MIN_BYTES */
};

#define PROOF_MIN_BYTES 64

uint64_t proof_name_hash(const char *name);

/* Writes the len bytes that belong at offset; both multiples of PROOF_BLOCK, except that the last
 * piece ends with the file. buf is aligned to 8. */
void proof_fill(const struct proof *proof, uint64_t offset, void *buf, size_t len);

/* Reads the header of a file's first block. Returns false if it is not a valid one. */
bool proof_identify(const void *block, size_t len, struct proof *ret);

/* Whether these are the right bytes for that offset. Constraints as for proof_fill(). */
bool proof_check(const struct proof *proof, uint64_t offset, const void *buf, size_t len);

#endif
