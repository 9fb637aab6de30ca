/*
 * s3_error: what S3 says when it says no: XML into kind, text, and what the operator can do.
 *
 * Pure; any bytes from a server will do.
 */
#ifndef FETCHERS_S3_S3_ERROR_H
#define FETCHERS_S3_S3_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define S3_CODE_SIZE 64

/* So much of an error's body is read; more than any service sends. */
#define S3_ERROR_BODY_MAX (16 * 1024)

/* The children of <Error>; empty: there is none. What is longer is cut. */
struct s3_error {
	bool is_s3; /* there was an <Error> */
	char code[S3_CODE_SIZE];
	char message[160];
	char region[64];
	char endpoint[256];
};

/* Reads as far as the body can be understood. */
void s3_error_read(const char *body, size_t len, struct s3_error *ret);

/* What can be mended without the operator. */
enum s3_repair { S3_REPAIR_NONE, S3_REPAIR_CLOCK, S3_REPAIR_KEYS };

enum s3_repair s3_error_repair(const struct s3_error *error);

/* What was asked, and how. */
struct s3_error_about {
	const char *what;	   /* "GET s3://bucket/key" */
	const char *region;	   /* that it was signed for */
	const char *bucket_region; /* that the service named; empty: none */
	int status;
	bool has_body, is_anonymous, is_deleted, has_version_id, has_sse_key;
	bool is_elsewhere; /* not at AWS */
};

/* Sets kind and text, from which it is -1. error may be empty, as after a HEAD. */
int s3_error_set(struct err *err, const struct s3_error_about *about, const struct s3_error *error);

#endif
