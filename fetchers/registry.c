#include "fetchers/registry.h"

const struct source_type *const fetcher_types[] = {
	&fetcher_http.type,
	&fetcher_file.type,
	&fetcher_static.type,
	NULL,
};
