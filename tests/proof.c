#include "proof.h"

#include <string.h>

#define MAGIC UINT64_C(0x666f6f7270667472)

struct header {
	uint64_t magic;
	uint64_t name_hash;
	uint64_t version;
	uint64_t size_bytes;
	uint64_t offset;
	uint64_t checksum; /* of the block, with 0 here */
};

#define HEADER_WORDS   (sizeof(struct header) / sizeof(uint64_t))
#define CHECKSUM_INDEX (offsetof(struct header, checksum) / sizeof(uint64_t))

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

uint64_t proof_name_hash(const char *name)
{
	uint64_t hash = MAGIC;

	for (; *name; name++)
		hash = mix(hash, (unsigned char)*name);
	return hash;
}

static uint64_t seed(const struct proof *proof, uint64_t offset)
{
	return mix(mix(mix(proof->name_hash, proof->version), proof->size_bytes), offset);
}

/* The end of a file may be too short for a header; then it is only filler. */
static void fill_words(uint64_t state, uint64_t *word, const uint64_t *end)
{
	for (; word < end; word++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		*word = state;
	}
}

static uint64_t checksum(const uint64_t *words, size_t n)
{
	uint64_t hash = MAGIC;

	for (size_t i = 0; i < n; i++)
		hash = mix(hash, i == CHECKSUM_INDEX ? 0 : words[i]);
	return hash;
}

static void fill_block(const struct proof *proof, uint64_t offset, uint64_t *words, size_t n)
{
	const struct header header = {
		.magic = MAGIC,
		.name_hash = proof->name_hash,
		.version = proof->version,
		.size_bytes = proof->size_bytes,
		.offset = offset,
	};

	if (n < HEADER_WORDS) {
		fill_words(seed(proof, offset), words, words + n);
		return;
	}
	memcpy(words, &header, sizeof(header));
	fill_words(seed(proof, offset), words + HEADER_WORDS, words + n);
	words[CHECKSUM_INDEX] = checksum(words, n);
}

void proof_fill(const struct proof *proof, uint64_t offset, void *buf, size_t len)
{
	uint64_t *words = buf;

	for (size_t done = 0; done < len; done += PROOF_BLOCK) {
		size_t block = len - done < PROOF_BLOCK ? len - done : PROOF_BLOCK;
		fill_block(proof, offset + done, words + done / sizeof(*words),
			   block / sizeof(*words));
	}
}

bool proof_identify(const void *block, size_t len, struct proof *ret)
{
	struct header header;

	if (len < sizeof(header))
		return false;
	memcpy(&header, block, sizeof(header));
	if (header.magic != MAGIC || header.offset != 0)
		return false;
	*ret = (struct proof){ header.name_hash, header.version, header.size_bytes };
	return true;
}

static bool check_block(const struct proof *proof, uint64_t offset, const uint64_t *words, size_t n)
{
	struct header header;

	if (n < HEADER_WORDS) {
		uint64_t expected[HEADER_WORDS];
		fill_words(seed(proof, offset), expected, expected + n);
		return memcmp(words, expected, n * sizeof(*words)) == 0;
	}
	memcpy(&header, words, sizeof(header));
	return header.magic == MAGIC && header.name_hash == proof->name_hash &&
	       header.version == proof->version && header.size_bytes == proof->size_bytes &&
	       header.offset == offset && header.checksum == checksum(words, n);
}

bool proof_check(const struct proof *proof, uint64_t offset, const void *buf, size_t len)
{
	const uint64_t *words = buf;

	for (size_t done = 0; done < len; done += PROOF_BLOCK) {
		size_t block = len - done < PROOF_BLOCK ? len - done : PROOF_BLOCK;
		if (!check_block(proof, offset + done, words + done / sizeof(*words),
				 block / sizeof(*words)))
			return false;
	}
	return true;
}
