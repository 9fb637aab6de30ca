/*
 * s3_sse: the key of an object that is encrypted with a key of the customer's (SSE-C), from a file.
 */
#ifndef FETCHERS_S3_S3_SSE_H
#define FETCHERS_S3_S3_SSE_H

#include "base/err.h"

/* The values of x-amz-server-side-encryption-customer-key and …-key-MD5: base64, with NUL. */
struct s3_sse {
	char key[48];
	char md5[28];
};

/* The file holds 32 bytes, or these in base64 on one line. Read for each request: a key that was
 * changed counts from the next one on. ERR_DENIED if it cannot be read or holds something else. */
int s3_sse_read(const char *path, struct s3_sse *ret, struct err *err);
void s3_sse_wipe(struct s3_sse *sse);

#endif
