/*
 * s3_checksum: computes the checksums that S3 stores with an object, while its bytes arrive.
 *
 *	x-amz-checksum-crc64nvme: BASE64	of the whole object
 *	x-amz-checksum-crc32: BASE64-PARTS	composite: of the checksums of its parts
 *
 * To compute a composite checksum one must know where the parts end; here all parts except the last
 * have the same length. The state of a CRC is a few bytes and can be saved and restored; that of a
 * SHA cannot. Pure; accepts any text from a service.
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

/* The checksum that a service sent. */
struct s3_claim {
	const struct s3_algorithm *algorithm; /* NULL: none was sent */
	uint32_t n_parts;		      /* 0: a checksum of the whole object */
	uint8_t bytes[S3_CHECKSUM_BYTES_MAX];
};

/* The names of the headers, by index; NULL after the last. */
const char *s3_checksum_header(size_t index);

/* Parses the value of the header at index. Returns false and leaves *ret alone if it is invalid. */
bool s3_claim_parse(size_t index, const char *value, struct s3_claim *ret);

/* The MD5 that an ETag of 32 hexadecimal digits usually is. False: another ETag. */
bool s3_claim_of_etag(const char *etag, struct s3_claim *ret);
bool s3_claim_is_of_etag(const struct s3_claim *claim);

/* "sha256" */
const char *s3_claim_name(const struct s3_claim *claim);

struct s3_checksum;

/* part_bytes is the length of all parts except the last, and must not be 0 if the claim has several
 * parts. Errors here and below are ERR_INTERNAL. */
int s3_checksum_new(struct s3_checksum **ret, const struct s3_claim *claim, uint64_t part_bytes,
		    struct err *err);
void s3_checksum_free(struct s3_checksum *checksum);
DEFINE_CLEANUP(struct s3_checksum, s3_checksum_free)

const struct s3_claim *s3_checksum_claim(const struct s3_checksum *checksum);

int s3_checksum_add(struct s3_checksum *checksum, const void *data, size_t len, struct err *err);

/* Compares with the claim, after all bytes were added. Call it once. */
int s3_checksum_check(struct s3_checksum *checksum, bool *ret_is_right, struct err *err);
/* What was computed, after s3_checksum_check(). */
const uint8_t *s3_checksum_found(const struct s3_checksum *checksum);

/* Saves claim and state as text. Returns false for a SHA or MD5. */
#define S3_CHECKSUM_TEXT_SIZE 200
bool s3_checksum_save(const struct s3_checksum *checksum, char ret[S3_CHECKSUM_TEXT_SIZE]);

/* Restores them, to continue after `bytes` bytes. NULL: another number, invalid text, or out of
 * memory. */
struct s3_checksum *s3_checksum_restore(const char *text, uint64_t bytes);

#endif
