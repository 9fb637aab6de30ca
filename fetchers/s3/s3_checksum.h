/*
 * s3_checksum: the checksums that S3 stores with an object, computed while its bytes go by.
 *
 *	x-amz-checksum-crc64nvme: BASE64	of the whole object
 *	x-amz-checksum-crc32: BASE64-PARTS	composite: of the parts' checksums, one behind the
 *other
 *
 * A composite one can only be computed if it is known where the parts end; here all but the last
 * have the same length. The state of a CRC is a few bytes, and can be written down and taken up
 * again with the next byte; that of a SHA cannot. Pure; any text from a service will do.
 *
 * (Amazon S3 User Guide, "Checking object integrity"; CRC-64/NVME: NVM Command Set Specification.)
 */
#ifndef FETCHERS_S3_S3_CHECKSUM_H
#define FETCHERS_S3_S3_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"

#define S3_CHECKSUM_BYTES_MAX 32

struct s3_algorithm;

/* What a service says that the checksum is. */
struct s3_claim {
	const struct s3_algorithm *algorithm; /* NULL: nothing was said */
	uint32_t n_parts;		      /* 0: of the whole object */
	uint8_t bytes[S3_CHECKSUM_BYTES_MAX];
};

/* The names of the headers; NULL behind the last. */
const char *s3_checksum_header(size_t index);

/* What the header at index says. False: no such checksum, *ret is untouched. */
bool s3_claim_parse(size_t index, const char *value, struct s3_claim *ret);

/* "sha256" */
const char *s3_claim_name(const struct s3_claim *claim);

struct s3_checksum;

/* part_bytes, not 0: the length of all parts but the last, of a claim with more than one. Errors
 * here and below are ERR_INTERNAL. */
int s3_checksum_new(struct s3_checksum **ret, const struct s3_claim *claim, uint64_t part_bytes,
		    struct err *err);
void s3_checksum_free(struct s3_checksum *checksum);
DEFINE_CLEANUP(struct s3_checksum, s3_checksum_free)

const struct s3_claim *s3_checksum_claim(const struct s3_checksum *checksum);

int s3_checksum_add(struct s3_checksum *checksum, const void *data, size_t len, struct err *err);

/* All bytes were added: are they what the claim is about? May be asked once. */
int s3_checksum_check(struct s3_checksum *checksum, bool *ret_is_right, struct err *err);

/* Claim and state as text. False: the state cannot be written down. */
#define S3_CHECKSUM_TEXT_SIZE 200
bool s3_checksum_save(const struct s3_checksum *checksum, char ret[S3_CHECKSUM_TEXT_SIZE]);

/* And back, to go on behind so many bytes. NULL: the text does not say that, or no memory. */
struct s3_checksum *s3_checksum_restore(const char *text, uint64_t bytes);

#endif
