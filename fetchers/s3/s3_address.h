/*
 * s3_address: which host and path a request for the object of a source goes to.
 *
 * A host is only ever made of what the configuration says and of a region's name, never of what a
 * service answers: credentials go nowhere else.
 */
#ifndef FETCHERS_S3_S3_ADDRESS_H
#define FETCHERS_S3_S3_ADDRESS_H

#include "base/err.h"
#include "fetchers/s3/s3_source.h"

/* Takes the option endpoint apart into is_tls, endpoint_host and prefix; NULL: AWS. ERR_CONFIG. */
int s3_endpoint_parse(struct s3_source *source, const char *endpoint, struct err *err);

/* Decides where the bucket stands. ERR_CONFIG if it cannot stand where addressing wants it. */
int s3_addressing_choose(struct s3_source *source, enum s3_addressing addressing, struct err *err);

struct s3_address {
	char *host; /* owned; as the Host header says it */
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
