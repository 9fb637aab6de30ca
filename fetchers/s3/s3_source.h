/*
 * s3_source: the checked options of the s3 fetcher, and what was learned about the service.
 *
 * Immutable, except for the fields that lock guards: the region that the service named, the
 * difference of the clocks, what its ETags are. Several threads may use a source at once (the
 * ranges of one object).
 */
#ifndef FETCHERS_S3_S3_SOURCE_H
#define FETCHERS_S3_S3_SOURCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetchers/aws/aws_credentials.h"
#include "fetchers/s3/s3_address.h"
#include "config/option.h"

struct helper;

/* For messages; a longer text is shortened in the middle. */
#define S3_SHOWN_SIZE 160

enum s3_checksum_mode {
	S3_CHECKSUM_AUTO,    /* checked if the service sends one */
	S3_CHECKSUM_REQUIRE, /* an object without one is refused */
	S3_CHECKSUM_OFF,     /* not requested */
};

/* Are the ETags of the service MD5s of the content? */
enum s3_etags { S3_ETAGS_UNKNOWN, S3_ETAGS_MD5, S3_ETAGS_OTHER };

enum s3_content_coding {
	S3_CODING_AUTO, /* as sent, which is logged once if the object is coded */
	S3_CODING_DECODE,
	S3_CODING_AS_SENT,
};

/* NULL: not set. */
struct s3_options {
	const char *bucket, *key, *region, *endpoint;
	const char *version_id;
	const char *version_header; /* its value is shown as the version */
	const char *const *content_types;
	const char *profile, *credentials_file;
	const char *sse_c_key_file;
	const char *ca_file, *proxy;
	uint64_t part_size_bytes; /* larger objects are fetched in ranges */
	int64_t connect_timeout_ms, stall_timeout_ms;
	uint32_t parallel_parts; /* 0: not set; see s3_source_parallel_parts() */
	enum s3_addressing addressing;
	enum s3_checksum_mode checksum;
	enum s3_content_coding content_coding;
	bool requester_pays, anonymous;
	bool use_fips_endpoint, use_dualstack_endpoint;
};

/* What is said once about a service. */
enum s3_warning {
	S3_WARNS_UNCONDITIONAL,
	S3_WARNS_NO_VERSION,
	S3_WARNS_CODED,
	S3_WARNS_ETAGS,
	S3_N_WARNINGS,
};

struct s3_source {
	const struct s3_options *options; /* borrowed */
	struct s3_location location;
	char *origin;		 /* owned */
	char *url;		 /* owned; for messages: "s3://bucket/key[?endpoint=…]" */
	struct aws_chain *chain; /* counted */

	pthread_mutex_t lock;		/* a leaf */
	char region[AWS_REGION_SIZE];	/* guarded by lock; configured or learned */
	int64_t clock_ahead_ms;		/* guarded by lock; the service's clock minus ours */
	enum s3_etags etags;		/* guarded by lock; used by s3_verify.c */
	bool has_warned[S3_N_WARNINGS]; /* guarded by lock; see s3_source_warn() */
};

extern const struct option_table s3_source_options;

/* How many ranges are fetched at once, at least 1. If the option is not set, ranges are fetched
 * only if one transfer is slow. */
static inline uint32_t s3_source_parallel_parts(const struct s3_source *source)
{
	return source->options->parallel_parts ? source->options->parallel_parts : 4;
}

/* Logs a warning, the first time. */
void s3_source_warn(struct s3_source *source, enum s3_warning warning);

/* "s3://bucket/key" for messages; returns ret. */
const char *s3_source_shown(const struct s3_source *source, char ret[S3_SHOWN_SIZE]);

/* The functions of struct source_type and struct fetcher_ops; state is a struct s3_source. */
void s3_environment_complete(struct options *options, struct option_problems *problems);
void s3_source_check(const void *values, struct option_problems *problems);
int s3_source_init(void **ret_state, const void *options, struct helper *helper, struct err *err);
void s3_source_free(void *state);
const char *s3_source_describe(void *state);
const char *s3_source_origin(void *state);
int s3_source_from_url(struct options *options, const char *url, struct err *err);

#endif
