/*
 * s3_address: where an object is, and the host and path of requests for it.
 *
 * A host is composed only of the configuration and the name of a region. Nothing else in a
 * service's answer can change it, so credentials never go elsewhere.
 */
#ifndef FETCHERS_S3_S3_ADDRESS_H
#define FETCHERS_S3_S3_ADDRESS_H

#include <stdbool.h>

#include "base/err.h"
#include "fetchers/aws/aws_region.h"

enum s3_addressing { S3_ADDRESSING_AUTO, S3_ADDRESSING_PATH, S3_ADDRESSING_VIRTUAL };

/* Set bucket and key first, then call the functions in this order. */
struct s3_location {
	const char *bucket, *key;     /* borrowed */
	char *host;		      /* owned; "host[:port]", lower case; NULL: AWS */
	char *prefix;		      /* owned; the path before the bucket: "", "/storage/s3" */
	char region[AWS_REGION_SIZE]; /* as configured; the caller sets it */
	bool is_fips, is_dualstack;   /* which hosts of AWS; false if host is set */
	bool is_tls;
	bool is_virtual; /* the bucket is in the host, not in the path */
};

/* For the check of the option's row. */
int s3_endpoint_check(const char *endpoint, struct err *err);
/* AWS's hosts must not contain the bucket; is_virtual adds it. ERR_CONFIG; the message does not
 * contain the option's name. */
int s3_endpoint_check_bucket(const char *endpoint, const char *bucket, struct err *err);

/* Takes the option endpoint, which s3_endpoint_check() has accepted; NULL: AWS. Sets host, prefix
 * and is_tls. ERR_CONFIG. */
int s3_location_set_endpoint(struct s3_location *location, const char *endpoint, struct err *err);

/* Can the bucket be part of the host name? ERR_CONFIG: no, because of the option *ret_option. */
int s3_location_check_virtual(const struct s3_location *location, const char **ret_option,
			      struct err *err);

/* Sets is_virtual. */
void s3_location_set_addressing(struct s3_location *location, enum s3_addressing addressing);

void s3_location_release(struct s3_location *location);

struct s3_address {
	char *host; /* owned; as in the Host header */
	char *path; /* owned; not encoded */
};

#define S3_ADDRESS_INIT       \
	{                     \
		.host = NULL, \
	}

/* The address in a region, which may differ from the configured one. *ret must be
 * S3_ADDRESS_INIT. */
int s3_address_make(const struct s3_location *location, const char *region, struct s3_address *ret,
		    struct err *err);
void s3_address_release(struct s3_address *address);

static inline const char *s3_scheme(const struct s3_location *location)
{
	return location->is_tls ? "https://" : "http://";
}

#endif
