/*
 * s3_verify: is what was downloaded what the service has?
 *
 * A composite checksum is one of the checksums of an upload's parts, but no answer to a plain GET
 * says where a part ends; HEAD with partNumber does, for one part at a time. Uploads have parts of
 * one length, with few exceptions. So the first part is asked about before the bytes come, and the
 * others only when the checksum comes out wrong, for a good object must not be refused for a wrong
 * guess. What cannot be checked is taken as it is, but with checksum = require.
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

	/* Of the version that was asked about last. */
	char etag[VERSION_SIZE]; /* empty: none */
	uint32_t n_parts;
	uint64_t part_bytes; /* the first part's; 0: the service does not say, or it cannot be */

	struct s3_checksum *checksum; /* owned; NULL: there is nothing to check by */
	bool is_asking;		      /* s3_verify_ask() must come first */
};

enum s3_verify_result {
	S3_VERIFY_OK,	   /* right, or unchecked and taken */
	S3_VERIFY_WRONG,   /* *err says what a second one would be refused with */
	S3_VERIFY_CHANGED, /* the object has another version now */
	S3_VERIFY_FAILED,  /* *err says why */
};

/*
 * To be called with the whole object's headers. -1 with is_asking: this transfer must end, and
 * another one begin after s3_verify_ask(); else the object is refused. etag is empty if it has none
 * that is strong. may_ask: there will be another one.
 */
int s3_verify_start(struct s3_verify *verify, const struct http_response *response,
		    const char *etag, bool may_ask, struct err *err);
/* S3_VERIFY_OK: what could be learned is known. size: of the object. */
enum s3_verify_result s3_verify_ask(struct s3_verify *verify, uint64_t size, struct err *err);

int s3_verify_add(struct s3_verify *verify, const void *data, size_t len, struct err *err);
enum s3_verify_result s3_verify_end(struct s3_verify *verify, struct err *err);

/* Forgets the bytes, not the parts. */
void s3_verify_reset(struct s3_verify *verify);

/* Going on behind so many bytes: the state as text, and back. False: it cannot be written down; the
 * rest alone must not be taken. */
bool s3_verify_save(const struct s3_verify *verify, char ret[S3_CHECKSUM_TEXT_SIZE]);
bool s3_verify_restore(struct s3_verify *verify, const char *text, uint64_t bytes);

#endif
