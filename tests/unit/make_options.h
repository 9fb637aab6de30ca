/* make_options: the options of one block on the heap. */
#ifndef MAKE_OPTIONS_H
#define MAKE_OPTIONS_H

#include <stdlib.h>

#include "config/option.h"

/* All options have their defaults. */
static inline struct options *options_make(const struct option_table *table)
{
	struct options *options = calloc(1, sizeof(*options));
	struct pool *pool = pool_new();
	void *values = pool ? pool_alloc(pool, table->size) : NULL;
	const void *defaults = pool ? options_defaults(table, pool) : NULL;

	if (!options || !values || !defaults)
		abort();
	options_init(options, table, values, defaults, pool);
	return options;
}

static inline void options_free(struct options *options)
{
	if (options)
		pool_free(options->pool);
	free(options);
}

#endif
