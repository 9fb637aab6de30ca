/*
 * s3_object: downloads the object of a source. These are functions of struct fetcher_ops; state is
 * a struct s3_source.
 */
#ifndef FETCHERS_S3_S3_OBJECT_H
#define FETCHERS_S3_S3_OBJECT_H

#include "fetch/fetcher.h"

int s3_object_download(void *state, struct fetch_ctx *ctx, struct sink *sink, struct fetched *ret,
		       struct err *err);
enum fetch_result s3_object_download_if_changed(void *state, struct fetch_ctx *ctx,
						const struct version *have, struct sink *sink,
						struct fetched *ret, struct err *err);

#endif
