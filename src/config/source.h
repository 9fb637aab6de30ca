/*
 * source: one place that a term can come from.
 *
 * The configuration uses only this part of a fetcher, its struct source_type. The fetch layer
 * provides the type, embedded in the rest of the fetcher.
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
	const struct option_table *options;
	const struct helper_uses *helper; /* base/helper.h; NULL: only files that options name */

	/* When a configuration is loaded, first complete and then check are called once for each
	 * source, and report all problems that they find. An option that is required may be
	 * missing, and one that was refused has its default.
	 *
	 * complete sets options that the configuration leaves out and the environment gives: from
	 * then on they are options like others. check looks at combinations of options. Both may
	 * read files, but do not use the network. NULL: there is nothing to do. */
	void (*complete)(struct options *options, struct option_problems *problems);
	void (*check)(const void *options, struct option_problems *problems);

	/* Makes the state of one source. In an image that another version wrote, options may be
	 * missing that check would ask for: that is an error too. It may read the files that the
	 * options name; it uses neither the network nor other files. Errors are ERR_CONFIG.
	 * options (the table's struct) lives as long as the source, so that the state may point
	 * into it. helper: for base/files.h. */
	int (*init)(void **ret_state, const void *options, struct helper *helper, struct err *err);

	/* Frees the state that init made. NULL if init allocates nothing. */
	void (*free)(void *state);

	/* Where the content comes from, for people (a URL, a path), without credentials. The result
	 * lives as long as the state. */
	const char *(*describe)(void *state);

	/* For terms on the command line, NAME=URL: the schemes of URLs that can become a source of
	 * this type ("http", "https"; in lower case, NULL-terminated), and the function that sets
	 * the options from such a URL. Errors are ERR_CONFIG. Both NULL: there are none. */
	const char *const *url_schemes;
	int (*from_url)(struct options *options, const char *url, struct err *err);
};

struct source {
	const struct source_type *type;
	const void *options; /* the struct of the type's table */
	void *state;	     /* owned; made by type->init; NULL before */

	/* Hash of the options that say what is fetched. If it changes, this is another source. */
	uint64_t fingerprint;
	/* Hash of these options, and of those that say which bodies are accepted. */
	uint64_t refusal_fingerprint;
	/* The hash that versions before 0.2 computed: see legacy_fingerprint.h. */
	uint64_t legacy_fingerprint;
};

#endif
