#include "fetchers/registry.h"

const struct source_type *const fetcher_types[] = {
	&fetcher_http.type, &fetcher_s3.type, &fetcher_file.type, &fetcher_static.type, NULL,
};
