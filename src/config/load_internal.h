/*
 * load_internal: the state of a configuration that is being loaded.
 *
 * Until all files are read, a term is a draft: its own options, and which of them were given. Then
 * the options that it leaves out are filled in: from -o, else from `defaults`, else from the table.
 */
#ifndef CONFIG_LOAD_INTERNAL_H
#define CONFIG_LOAD_INTERNAL_H

#include <stddef.h>
#include <sys/types.h>

#include "base/digest.h"
#include "config/grammar.h"
#include "config/load.h"
#include "config/problems.h"

struct draft {
	struct term_config term; /* the pool owns the sources, but not their states */
	uint64_t given;		 /* as struct options */
	size_t n_allocated;	 /* for its sources */
	struct place place;
};

/* A block whose options are being set, with the place where each was given first. */
struct block {
	struct options options;
	struct place first[OPTION_ROWS_MAX]; /* line 0: not given */
	const char *term;		     /* the name of its term, or NULL */
	const char *kind;		     /* the prefix of its problems, or NULL */
	bool has_problem;
	uint64_t refused; /* bit i: row i has a problem */
	bool has_unknown; /* an unknown name may be a required option, misspelt */
};

/* One configuration file. */
struct loaded_file {
	char *path; /* owned; as it was opened */
	dev_t dev;
	ino_t ino;
	struct place parent; /* where it is included */
};

struct loader {
	const struct config_request *request;
	struct problems problems;
	struct pool *pool;     /* owned; becomes the configuration's */
	struct digest *digest; /* owned */
	char *cwd;	       /* owned */
	const void *term_defaults;
	const void **source_defaults; /* owned; of request->types[i] */
	struct block root;	      /* from the files */
	struct block defaults;
	struct block command_root; /* from -o */
	struct block command;	   /* of all terms */
	struct draft *drafts;	   /* owned */
	size_t n_drafts, n_allocated;
	struct loaded_file *files; /* owned; files[i] is file i + 1 of problems */
	unsigned n_files;
	bool has_statement; /* the files are not empty */
};

/* load_blocks: options of blocks, and how blocks become terms. */

/* Sets an option of a block from a statement in a file. */
void load_option(struct loader *loader, struct block *block, const struct statement *option,
		 unsigned file);
void load_unknown_block(struct loader *loader, struct block *block, const struct statement *unknown,
			unsigned file);
/* Reports a call inside a block. */
void load_misplaced_call(struct loader *loader, const struct block *block,
			 const struct statement *call, unsigned file);
void load_defaults(struct loader *loader, const struct statement *defaults, unsigned file);
void load_term(struct loader *loader, const struct statement *term, unsigned file);

/* Adds a term to the end of the list. Returns NULL if out of memory, which is noted. */
struct draft *load_new_draft(struct loader *loader, const char *name, struct place place);

/* Checks the options of a source, and adds it to the draft or reports all their problems. place: of
 * the block. */
void load_add_source(struct loader *loader, struct draft *draft, const struct source_type *type,
		     struct block *block, struct place place);
const void *load_source_defaults(const struct loader *loader, const struct source_type *type);

/* load_names: sorts the drafts by name, and notes names and aliases that collide. */

void load_check_names(struct loader *loader);

/* load_command: options and terms from the command line. */

void load_command_options(struct loader *loader);
void load_command_terms(struct loader *loader);

/* load_files: the configuration file and the files that it includes. */

void load_file(struct loader *loader, const char *path);

#endif
