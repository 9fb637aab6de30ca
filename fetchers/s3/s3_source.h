/*
 * s3_source: the checked options of the s3 fetcher, and what was learned about the service.
 *
 * Immutable, except for the fields that lock guards: the region that the service named, and the
 * difference of the clocks. Several threads may use a source at once (the ranges of one object).
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

/* Strings are borrowed from the options unless marked; NULL: not set. */
struct s3_source {
	const char *version_id;
	const char *version_header; /* its value is shown as the version */
	const char *const *content_types;
	const char *sse_c_key_file;
	const char *ca_file, *proxy;
	bool requester_pays, anonymous;
	enum s3_checksum_mode checksum;
	uint64_t part_size_bytes; /* larger objects are fetched in ranges */
	uint32_t parallel_parts;  /* how many ranges at once, at least 1 */
	bool is_parallel;	  /* ranges from the start; else only if one transfer is slow */
	int64_t connect_timeout_ms, stall_timeout_ms;

	struct s3_location location;
	char *origin;		 /* owned */
	char *url;		 /* owned; for people: "s3://bucket/key[?endpoint=…]" */
	struct aws_chain *chain; /* counted */

	pthread_mutex_t lock;	      /* a leaf */
	char region[AWS_REGION_SIZE]; /* guarded by lock; configured or learned */
	int64_t clock_ahead_ms;	      /* guarded by lock; the service's clock minus ours */
	bool warned_unconditional;    /* guarded by lock; used by s3_object.c */
};

extern const struct option_spec s3_source_options[];

/* "s3://bucket/key" for messages; returns ret. */
const char *s3_source_shown(const struct s3_source *source, char ret[S3_SHOWN_SIZE]);

/* The functions of struct source_type and struct fetcher_ops; state is a struct s3_source. */
int s3_source_init(void **ret_state, const struct options *options, struct helper *helper,
		   struct err *err);
void s3_source_free(void *state);
const char *s3_source_describe(void *state);
const char *s3_source_origin(void *state);
int s3_source_from_url(struct options *options, const char *url, struct err *err);

#endif
