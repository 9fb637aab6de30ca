/*
 * config_load: what is known of a configuration while it is being loaded.
 *
 * Terms stay drafts, name, sources and the options that were set, until everything is read; then
 * the options that a term left out are filled in: what -o says wins over `defaults`, and that over
 * what the table says.
 */
#ifndef CONFIG_CONFIG_LOAD_H
#define CONFIG_CONFIG_LOAD_H

#include <stddef.h>
#include <sys/types.h>

#include "config/config.h"
#include "config/config_parse.h"
#include "config/config_problem.h"

struct draft {
	struct term_config term; /* owned: name, sources */
	struct options *options; /* owned; NULL: none is set */
	struct place place;
};

/* One configuration file. */
struct loaded_file {
	char *path; /* owned; as it was opened */
	dev_t dev;
	ino_t ino;
	struct place parent; /* who included it */
};

struct include {
	char *pattern; /* owned */
	unsigned line;
};

struct loader {
	const struct config_request *request;
	struct schema schema;
	struct problems problems;
	char *cwd;		      /* owned */
	struct options *root;	      /* owned; what files say */
	struct options *defaults;     /* owned */
	struct options *command;      /* owned; options of terms from -o */
	struct options *command_root; /* owned; options of the root from -o */
	struct draft *drafts;	      /* owned */
	size_t n_drafts;
	size_t n_allocated;
	struct loaded_file *files; /* owned; files[i] is file i + 1 of problems */
	unsigned n_files;
	struct include *includes; /* owned; of the file that is being parsed */
	size_t n_includes;
	unsigned file;		  /* the one that is being parsed */
	struct place store_place; /* of the option "store" */
};

/* config_term: the options of a term, and how blocks become terms. */

extern const struct option_spec config_term_table[];
extern const struct option_spec config_root_table[];

/* Sets the values of a block; what is wrong is noted, `block_name` (or NULL) before it. Returns
 * false if anything was. */
bool load_values(struct loader *loader, const struct raw_block *block, struct options *options,
		 const char *term, const char *block_name);

void load_term(struct loader *loader, const char *name, const struct raw_block *block,
	       const struct raw_source *sources, size_t n_sources);

/* Checks the options (taken over in any case) and adds the source that they make to the draft. */
int load_source(struct draft *draft, const struct source_type *type, struct options *options,
		struct helper *helper, struct err *err);

/* An empty draft at the end of the list, or NULL: out of memory, which is noted. */
struct draft *load_new_draft(struct loader *loader, const char *name, struct place place);
void draft_release(struct draft *draft);

/* Fills in what the drafts left out, and checks what options mean together. */
void load_finish_terms(struct loader *loader);

void term_config_release(struct term_config *term);

/* config_check: names among each other. Sorts the drafts by name, and notes which is there twice,
 * is another's directory, or has another's alias. */

void load_check_names(struct loader *loader);

/* config_command: what the command line says. */

void load_command_options(struct loader *loader);
void load_command_terms(struct loader *loader);

/* config_file: the file and what it includes. */

void load_file(struct loader *loader, const char *path);

#endif
