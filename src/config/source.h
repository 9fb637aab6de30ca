/*
 * source: one place that a term can come from, as the configuration knows it.
 *
 * The loader sees of a fetcher only its struct source_type; the fetch layer, which put the type
 * there, gets from it to the rest of the fetcher.
 */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include <stdint.h>

#include "base/err.h"
#include "config/option.h"

struct helper;
struct helper_uses;

struct source_type {
	const char *name; /* the name of the block: "http" */
	const char *help; /* one line */
	const struct option_spec *options;
	const struct helper_uses *helper; /* base/helper.h; NULL: only files that options name */

	/* Checks the options and makes the state of one source. Never touches network or disk
	 * beyond the files that the options name. Errors are ERR_CONFIG. options lives as long as
	 * the source, so that strings may be borrowed from it. helper: for base/files.h. */
	int (*init)(void **ret_state, const struct options *options, struct helper *helper,
		    struct err *err);

	/* Takes what init made; NULL where init allocates nothing. */
	void (*free)(void *state);

	/* Where this source's content comes from, as people write it (an URL, a path), without
	 * credentials; the result lives as long as the state. */
	const char *(*describe)(void *state);

	/* For terms on the command line, NAME=URL: the schemes of URLs that can become a source of
	 * this type ("http", "https"; in lower case, NULL-terminated), and what sets the options
	 * for one. Errors are ERR_CONFIG. Both NULL: there are none. */
	const char *const *url_schemes;
	int (*from_url)(struct options *options, const char *url, struct err *err);
};

struct source {
	const struct source_type *type;
	struct options *options; /* owned */
	void *state;		 /* owned; made by type->init */
	uint64_t fingerprint;
};

#endif
