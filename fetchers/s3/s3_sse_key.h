/*
 * s3_sse_key: the customer's key of an encrypted object (SSE-C), read from a file.
 */
#ifndef FETCHERS_S3_S3_SSE_KEY_H
#define FETCHERS_S3_S3_SSE_KEY_H

#include "base/err.h"

struct helper;

/* The values of x-amz-server-side-encryption-customer-key and …-key-MD5: base64, NUL-terminated. */
struct s3_sse_key {
	char key[48];
	char md5[28];
};

/* Reads a file that holds 32 bytes, or 32 bytes in base64 on one line. Call it for each request, so
 * that a changed key takes effect. The caller frees *ret with secret_free(). ERR_DENIED if the file
 * cannot be read or holds something else. */
int s3_sse_key_read(struct s3_sse_key **ret, struct helper *helper, const char *path,
		    struct err *err);

#endif
