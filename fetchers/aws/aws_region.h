/*
 * aws_region: regions, the partitions that they belong to, and the domains of AWS's hosts. Pure.
 *
 * A region becomes part of a host name and may come from a service's answer, so nothing that
 * aws_is_region() refuses may get there.
 */
#ifndef FETCHERS_AWS_AWS_REGION_H
#define FETCHERS_AWS_AWS_REGION_H

#include <stdbool.h>

/* Bytes of a region's name with its NUL. */
#define AWS_REGION_SIZE 33

/* Lower-case letters, digits and inner "-", as in "eu-west-1". */
bool aws_is_region(const char *region);

/* The domain of AWS's hosts in a region: "amazonaws.com", "amazonaws.com.cn" … */
const char *aws_domain(const char *region);

/* The host of the security token service in a region. Returns ret. */
#define AWS_STS_HOST_SIZE (AWS_REGION_SIZE + 48)
const char *aws_sts_host(const char *region, bool is_fips, bool is_dualstack,
			 char ret[AWS_STS_HOST_SIZE]);

/* A region that every account of the partition of an ARN ("arn:aws-cn:…") has. */
const char *aws_region_of_arn(const char *arn);

/* Is "host" or "host:port" below a domain of AWS? */
bool aws_is_host(const char *host);

#endif
