/*
 * load_internal: what is known about a configuration while it is being loaded.
 *
 * Terms are drafts until everything is read: their own options, and which of them were given. Then
 * what they left out is filled in: -o wins over `defaults`, and that over the table.
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
	struct term_config term; /* its sources are owned by the pool, but not their states */
	uint64_t given;		 /* as struct options */
	size_t n_allocated;	 /* of its sources */
	struct place place;
};

/* A block whose options are being set, with the place where each was given first. */
struct block {
	struct options options;
	struct place first[OPTION_ROWS_MAX]; /* line 0: not given */
	const char *term;		     /* name of the term that it is of, or NULL */
	const char *kind;		     /* said before problems, or NULL */
	bool has_problem;
	bool has_unknown; /* one of its options may be there under a wrong name */
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
	struct block root;	      /* what files say */
	struct block defaults;
	struct block command_root; /* what -o says */
	struct block command;	   /* of all terms */
	struct draft *drafts;	   /* owned */
	size_t n_drafts, n_allocated;
	struct loaded_file *files; /* owned; files[i] is file i + 1 of problems */
	unsigned n_files;
	bool has_statement; /* the files are not empty */
};

/* load_blocks: options of blocks, and how blocks become terms. */

/* The option of a block at this place. */
void load_option(struct loader *loader, struct block *block, const struct statement *option,
		 unsigned file);
void load_unknown_block(struct loader *loader, struct block *block, const struct statement *unknown,
			unsigned file);
/* A call where none can be. */
void load_misplaced_call(struct loader *loader, const struct block *block,
			 const struct statement *call, unsigned file);
void load_defaults(struct loader *loader, const struct statement *defaults, unsigned file);
void load_term(struct loader *loader, const struct statement *term, unsigned file);

/* A new term at the end of the list, or NULL: out of memory, which is noted. */
struct draft *load_new_draft(struct loader *loader, const char *name, struct place place);

/* Adds the source that the options make to the draft. */
int load_add_source(struct loader *loader, struct draft *draft, const struct source_type *type,
		    const struct options *options, struct err *err);
const void *load_source_defaults(const struct loader *loader, const struct source_type *type);

/* load_names: sorts the drafts by name, and notes names and aliases that collide. */

void load_check_names(struct loader *loader);

/* load_command: what the command line says. */

void load_command_options(struct loader *loader);
void load_command_terms(struct loader *loader);

/* load_files: the file and what it includes. */

void load_file(struct loader *loader, const char *path);

#endif
