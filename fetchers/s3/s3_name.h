/*
 * s3_name: what buckets, keys and regions may be called, and where AWS has them. Pure.
 *
 * A region goes into a host's name and may come from a service's answer: nothing that
 * s3_is_region() refuses gets there.
 */
#ifndef FETCHERS_S3_S3_NAME_H
#define FETCHERS_S3_S3_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Bytes of a region's name with its NUL. */
#define S3_REGION_SIZE 33
#define S3_KEY_MAX     1024

/* Letters, digits and "-", as in "eu-west-1". */
bool s3_is_region(const char *region);

/* "amazonaws.com", "amazonaws.com.cn" …: the domain of AWS's hosts in that region. */
const char *s3_aws_domain(const char *region);

/* Is it a host's name or a host's name and port below a domain of AWS? */
bool s3_is_aws_host(const char *host);

/* "127.0.0.1:9000", "[::1]": neither a name. */
bool s3_is_address(const char *host);

/* Can the bucket stand in a host's name? Names from before that rule need path addressing. */
bool s3_is_dns_bucket(const char *bucket);

/* ERR_CONFIG says what is wrong. is_elsewhere: not at AWS, which takes less. */
int s3_bucket_check(const char *bucket, bool is_elsewhere, struct err *err);
int s3_key_check(const char *key, struct err *err);

/*
 * The region in the name of an S3 host: "s3.REGION.…", "s3-REGION.…", "s3.dualstack.REGION.…", each
 * also behind "BUCKET.". Port and path behind the host are ignored. False: there is none, or one
 * that s3_is_region() refuses.
 */
bool s3_host_region(const char *host, const char *bucket, char ret[S3_REGION_SIZE]);

#endif
