/* make_options: the options of one block on the heap, and what their source says about them. */
#ifndef MAKE_OPTIONS_H
#define MAKE_OPTIONS_H

#include <stdlib.h>

#include "base/util.h"
#include "config/source.h"

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

/* Keeps the first problem. */
struct first_problem {
	struct option_problems problems;
	struct err *err;
};

static inline void first_problem_add(struct option_problems *problems, const char *option,
				     const char *other, const char *text)
{
	struct err *err = container_of(problems, struct first_problem, problems)->err;

	(void)option;
	(void)other;
	if (err->kind == ERR_NONE)
		err_set(err, ERR_CONFIG, "%s", text);
}

/* Completes and checks them. ERR_CONFIG has the first problem. */
static inline int options_finish(struct options *options, const struct source_type *type,
				 struct err *err)
{
	struct first_problem first = { { first_problem_add }, err };

	for (const struct option_spec *spec = options->table->rows; spec->name; spec++) {
		if (spec->required && !options_is_given(options, spec))
			return err_set(err, ERR_CONFIG, "option \"%s\" is required", spec->name);
	}
	if (type->complete)
		type->complete(options, &first.problems);
	if (type->check)
		type->check(options->values, &first.problems);
	return err->kind == ERR_NONE ? 0 : -1;
}

#endif
