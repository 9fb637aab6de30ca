/*
 * s3_error: turns an error response of S3 into a kind of error, a message, and advice to the
 * operator. Pure; accepts any response.
 */
#ifndef FETCHERS_S3_S3_ERROR_H
#define FETCHERS_S3_S3_ERROR_H

#include <stdbool.h>

#include "base/err.h"
#include "fetchers/aws/aws_error.h"

/* What rptfs can correct by itself. */
enum s3_repair { S3_REPAIR_NONE, S3_REPAIR_CLOCK, S3_REPAIR_KEYS };

enum s3_repair s3_error_repair(const struct aws_error *error);

/* The request that failed. */
struct s3_error_about {
	const char *what;	   /* "GET s3://bucket/key" */
	const char *region;	   /* in its signature */
	const char *bucket_region; /* as named by the service; empty: not named */
	int status;
	bool has_body, is_anonymous, is_deleted, has_version_id, has_sse_key;
	bool is_elsewhere; /* the service is not AWS */
};

/* Sets *err and returns -1. error may be empty, as after a HEAD. */
int s3_error_set(struct err *err, const struct s3_error_about *about,
		 const struct aws_error *error);

#endif
