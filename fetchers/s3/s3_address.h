/*
 * s3_address: the host and path of requests for the object of a source.
 *
 * A host is composed of the configuration and the name of a region, and of nothing else that a
 * service answers, so that credentials never go elsewhere.
 */
#ifndef FETCHERS_S3_S3_ADDRESS_H
#define FETCHERS_S3_S3_ADDRESS_H

#include "base/err.h"
#include "fetchers/s3/s3_source.h"

/* Splits the option endpoint into is_tls, endpoint_host and prefix; NULL: AWS. ERR_CONFIG. */
int s3_endpoint_parse(struct s3_source *source, const char *endpoint, struct err *err);

/* Sets is_virtual. ERR_CONFIG if the bucket does not allow this addressing. */
int s3_addressing_choose(struct s3_source *source, enum s3_addressing addressing, struct err *err);

struct s3_address {
	char *host; /* owned; as in the Host header */
	char *path; /* owned; not encoded */
};

#define S3_ADDRESS_INIT       \
	{                     \
		.host = NULL, \
	}

/* *ret must be S3_ADDRESS_INIT. */
int s3_address_make(const struct s3_source *source, const char *region, struct s3_address *ret,
		    struct err *err);
void s3_address_release(struct s3_address *address);

static inline const char *s3_scheme(const struct s3_source *source)
{
	return source->is_tls ? "https://" : "http://";
}

#endif
