/*
 * s3_bucket: which names of buckets, keys and hosts are valid. Pure.
 */
#ifndef FETCHERS_S3_S3_BUCKET_H
#define FETCHERS_S3_S3_BUCKET_H

#include <stdbool.h>

#include "base/err.h"
#include "fetchers/aws/aws_region.h"

#define S3_KEY_MAX 1024

/* Is the host an IP address, with or without a port ("127.0.0.1:9000", "[::1]")? */
bool s3_is_address(const char *host);

/* Can the bucket be part of a host name? Older names need path addressing. */
bool s3_is_dns_bucket(const char *bucket);

/* ERR_CONFIG. is_elsewhere: the service is not AWS, which accepts fewer names. */
int s3_bucket_check(const char *bucket, bool is_elsewhere, struct err *err);
/* For the check of the option's row. ERR_CONFIG. */
int s3_key_check(const char *key, struct err *err);

/*
 * Finds the region in the name of an S3 host: "s3.REGION.…", "s3-REGION.…" or
 * "s3.dualstack.REGION.…", with or without "BUCKET." before it. Ignores a port and a path. Returns
 * false if there is none that aws_is_region() accepts.
 */
bool s3_host_region(const char *host, const char *bucket, char ret[AWS_REGION_SIZE]);

#endif
