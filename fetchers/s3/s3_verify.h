/*
 * s3_verify: checks a downloaded object against the checksum that the service sends.
 *
 * A composite checksum is a checksum of the checksums of an upload's parts. A plain GET does not
 * say where a part ends; HEAD with partNumber does, for one part. Nearly all uploads have parts of
 * equal length. So the size of the first part is requested before the download, and those of the
 * others only if the checksum turns out wrong, because a wrong guess must not refuse a good object.
 * An object that cannot be checked is accepted unless checksum = require.
 *
 * Without a checksum, an ETag that can be an MD5 must be that of the content: a service that writes
 * in place may send one version's ETag with the bytes of two. If it does not match, the object is
 * requested once more. If the bytes are the same again, and no ETag of the service ever matched,
 * its ETags are something else.
 */
#ifndef FETCHERS_S3_S3_VERIFY_H
#define FETCHERS_S3_S3_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "fetchers/s3/s3_checksum.h"
#include "fetchers/s3/s3_request.h"

struct s3_verify {
	struct s3_source *source; /* borrowed, as ctx */
	struct fetch_ctx *ctx;

	/* The version whose parts were last asked for. */
	char etag[VERSION_SIZE]; /* empty: none */
	uint32_t n_parts;
	uint64_t part_bytes; /* of the first part; 0: unknown, or not plausible */

	/* The MD5 of a try that did not match its ETag. */
	uint8_t other_md5[S3_CHECKSUM_BYTES_MAX];
	bool has_other_md5;

	struct s3_checksum *checksum; /* owned; NULL: the object cannot be checked */
	bool is_asking;		      /* s3_verify_ask() must be called first */
};

enum s3_verify_result {
	S3_VERIFY_OK,	   /* right, or accepted unchecked */
	S3_VERIFY_WRONG,   /* the checksum differs; see *err */
	S3_VERIFY_CHANGED, /* the object now has another version */
	S3_VERIFY_FAILED,  /* see *err */
};

/*
 * Call it with the headers of the whole object. If it returns -1 and is_asking is set, end the
 * transfer, call s3_verify_ask() and begin another one; without is_asking the object is refused.
 * etag is empty if it is weak or missing. may_ask: the caller can begin another transfer.
 */
int s3_verify_start(struct s3_verify *verify, const struct http_response *response,
		    const char *etag, bool may_ask, struct err *err);
/* Asks for the size of the first part. size is that of the object. */
enum s3_verify_result s3_verify_ask(struct s3_verify *verify, uint64_t size, struct err *err);

int s3_verify_add(struct s3_verify *verify, const void *data, size_t len, struct err *err);
enum s3_verify_result s3_verify_end(struct s3_verify *verify, struct err *err);

/* Forgets the bytes, but not the part sizes. */
void s3_verify_reset(struct s3_verify *verify);

/* Saves the state as text, and restores it after `bytes` bytes. Returns false if that is
 * impossible; then the download cannot be resumed. */
bool s3_verify_save(const struct s3_verify *verify, char ret[S3_CHECKSUM_TEXT_SIZE]);
bool s3_verify_restore(struct s3_verify *verify, const char *text, uint64_t bytes);

#endif
