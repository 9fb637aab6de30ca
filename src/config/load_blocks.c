/*
 * load_blocks: the options of blocks, and how the blocks of a file become terms.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/nearest_name.h"
#include "base/util.h"
#include "config/config_name.h"
#include "config/fingerprint.h"
#include "config/legacy_fingerprint.h"
#include "config/load_internal.h"

__attribute__((format(printf, 4, 5))) static void complain(struct loader *loader,
							   struct block *block, struct place place,
							   const char *fmt, ...)
{
	va_list args;

	block->has_problem = true;
	va_start(args, fmt);
	problem_add_about(&loader->problems, place, block->term, block->kind, fmt, args);
	va_end(args);
}

/* ------------------------------------------------------------------ unknown names */

/* The other places where an option is allowed. */
struct elsewhere {
	const struct option_table *table;
	const struct source_type *type; /* of a source's table, else NULL */
};

#define ELSEWHERE_MAX 16

/* Every table but the block's own. */
static size_t list_elsewhere(const struct loader *loader, const struct block *block,
			     struct elsewhere ret[ELSEWHERE_MAX])
{
	const struct option_table *own = block->options.table;
	size_t n = 0;

	if (own != &config_term_table)
		ret[n++] = (struct elsewhere){ &config_term_table, NULL };
	if (own != &config_root_table)
		ret[n++] = (struct elsewhere){ &config_root_table, NULL };
	for (size_t i = 0; loader->request->types[i] && n < ELSEWHERE_MAX; i++) {
		const struct source_type *type = loader->request->types[i];
		if (type->options != own)
			ret[n++] = (struct elsewhere){ type->options, type };
	}
	return n;
}

/* "in a term or defaults { … }". Returns ret. */
static const char *place_of(const struct elsewhere *other, char ret[128])
{
	if (other->type)
		snprintf(ret, 128, "in a block of its fetcher: %s { … }", other->type->name);
	else
		snprintf(ret, 128, "%s",
			 other->table == &config_root_table ? "outside of all blocks"
							    : "in a term or defaults { … }");
	return ret;
}

static void consider(struct nearest *nearest, const struct option_table *table)
{
	for (const struct option_spec *spec = table->rows; spec->name; spec++)
		nearest_consider(nearest, spec->name);
}

static void refuse_unknown_option(struct loader *loader, struct block *block, struct place place,
				  const char *name)
{
	struct elsewhere others[ELSEWHERE_MAX];
	size_t n = list_elsewhere(loader, block, others);
	struct nearest nearest = NEAREST_INIT(name);
	char where[128];

	block->has_unknown = true;
	for (size_t i = 0; i < n; i++) {
		if (option_find(others[i].table, name)) {
			complain(loader, block, place, "option \"%s\" belongs %s", name,
				 place_of(&others[i], where));
			return;
		}
	}
	/* At equal distance, a name in this block wins over one elsewhere. */
	const struct elsewhere *owner = NULL;
	consider(&nearest, block->options.table);
	for (size_t i = 0; i < n; i++) {
		const char *before = nearest.found;
		consider(&nearest, others[i].table);
		owner = nearest.found != before ? &others[i] : owner;
	}
	if (owner)
		complain(loader, block, place,
			 "unknown option \"%s\"; did you mean \"%s\", which belongs %s?", name,
			 nearest.found, place_of(owner, where));
	else if (nearest.found)
		complain(loader, block, place, "unknown option \"%s\"; did you mean \"%s\"?", name,
			 nearest.found);
	else
		complain(loader, block, place, "unknown option \"%s\"", name);
}

static const struct source_type *find_type(const struct loader *loader, const char *name)
{
	for (size_t i = 0; loader->request->types[i]; i++) {
		if (strcmp(loader->request->types[i]->name, name) == 0)
			return loader->request->types[i];
	}
	return NULL;
}

/* "http, s3, file" */
static void list_types(const struct loader *loader, char *ret, size_t size)
{
	size_t used = 0;

	*ret = '\0';
	for (size_t i = 0; loader->request->types[i] && used < size; i++) {
		int n = snprintf(ret + used, size - used, "%s%s", i ? ", " : "",
				 loader->request->types[i]->name);
		used += n > 0 ? (size_t)n : 0;
	}
}

/* '; did you mean "static"?', or "" if no block is near. */
static const char *near_block(const struct loader *loader, bool is_source, const char *name,
			      char ret[96])
{
	struct nearest nearest = NEAREST_INIT(name);

	for (size_t i = 0; is_source && loader->request->types[i]; i++)
		nearest_consider(&nearest, loader->request->types[i]->name);
	if (!is_source) {
		nearest_consider(&nearest, "term");
		nearest_consider(&nearest, "defaults");
	}
	*ret = '\0';
	if (nearest.found)
		snprintf(ret, 96, "; did you mean \"%s\"?", nearest.found);
	return ret;
}

void load_unknown_block(struct loader *loader, struct block *block, const struct statement *unknown,
			unsigned file)
{
	const struct option_table *table = block->options.table;
	const char *name = unknown->name;
	struct place place = { file, unknown->line };
	bool is_type = find_type(loader, name);
	char known[256], near[96];

	block->has_unknown = true;
	if (strcmp(name, "term") == 0 && !unknown->title)
		complain(loader, block, place, "a term needs a name: term \"NAME\" { … }");
	else if (unknown->title && (is_type || strcmp(name, "defaults") == 0))
		complain(loader, block, place, "a block \"%s\" has no name: %s { … }", name, name);
	else if (option_find(table, name))
		complain(loader, block, place, "\"%s\" is an option, not a block: %s = …", name,
			 name);
	else if (block == &loader->defaults && is_type)
		complain(loader, block, place, "a source belongs to one term");
	else if (is_type && table == &config_root_table)
		complain(loader, block, place, "a block \"%s\" belongs in a term", name);
	else if (is_type || strcmp(name, "defaults") == 0)
		complain(loader, block, place,
			 "a block \"%s\" cannot be in \"%s\": is there a \"}\" missing before it?",
			 name, block->kind ? block->kind : "term");
	else if (table == &config_term_table && block != &loader->defaults) {
		list_types(loader, known, sizeof(known));
		complain(loader, block, place, "unknown fetcher \"%s\"; there are: %s%s", name,
			 known, near_block(loader, true, name, near));
	} else {
		complain(loader, block, place, "unknown block \"%s\"%s", name,
			 near_block(loader, false, name, near));
	}
}

void load_misplaced_call(struct loader *loader, const struct block *block,
			 const struct statement *call, unsigned file)
{
	struct place place = { file, call->line };

	if (strcmp(call->name, "include") == 0)
		problem_add(&loader->problems, place, block->term,
			    "include() belongs outside of all blocks");
	else
		problem_add(&loader->problems, place, block->term,
			    "unknown function \"%s\"; there is only include(\"FILE\")", call->name);
}

/* ------------------------------------------------------------------ options */

/* Reports the name of a block that is used like an option. Returns false if it is not one. */
static bool refuse_block_name(struct loader *loader, struct block *block, struct place place,
			      const char *name)
{
	bool is_root = block == &loader->root;

	if (block->options.table == &config_term_table && find_type(loader, name))
		complain(loader, block, place, "\"%s\" is a block: %s { … }", name, name);
	else if (is_root && (strcmp(name, "term") == 0 || strcmp(name, "defaults") == 0))
		complain(loader, block, place, "\"%s\" is a block", name);
	else
		return false;
	block->has_unknown = true;
	return true;
}

static void refuse_second(struct loader *loader, struct block *block, struct place place,
			  const char *name, struct place first)
{
	char where[PLACE_SIZE];

	if (first.file == place.file)
		complain(loader, block, place, "option \"%s\" is given twice, first on line %u",
			 name, first.line);
	else
		complain(loader, block, place, "option \"%s\" is given twice, first in %s", name,
			 problems_place(&loader->problems, first, where));
}

/* Reports every element of a list that is refused: options_set_texts() stops at the first. Returns
 * false if there is one. */
static bool check_elements(struct loader *loader, struct block *block,
			   const struct option_spec *spec, const struct statement *option,
			   struct place place)
{
	bool is_valid = true;

	for (size_t i = 0; i < option->n_texts; i++) {
		struct err err = ERR_INIT;

		if (option_check_text(spec, option->texts[i], &err) == 0)
			continue;
		is_valid = false;
		if (option->n_texts > 1)
			complain(loader, block, place, "%s (element %zu)", err.msg, i + 1);
		else
			complain(loader, block, place, "%s", err.msg);
	}
	return is_valid;
}

/* Sets the option. Returns false after reporting a problem. */
static bool set_option(struct loader *loader, struct block *block, const struct option_spec *spec,
		       const struct statement *option, struct place place)
{
	const struct place *first = &block->first[spec - block->options.table->rows];
	bool is_list = spec->type == OPTION_STRINGS;
	struct err err = ERR_INIT;

	if (option->is_list && !is_list)
		complain(loader, block, place, "%s: takes one value, not a list", spec->name);
	else if (option->is_appended && !is_list)
		complain(loader, block, place, "%s: \"+=\" is for lists", spec->name);
	else if (first->line && !option->is_appended)
		refuse_second(loader, block, place, spec->name, *first);
	else if (spec->one_term && block == &loader->defaults)
		complain(loader, block, place, "an %s belongs to one term", spec->name);
	else if (is_list && !check_elements(loader, block, spec, option, place))
		return false;
	else if (options_set_texts(&block->options, spec, option->texts, option->n_texts, &err) < 0)
		complain(loader, block, place, "%s", err.msg);
	else
		return true;
	return false;
}

void load_option(struct loader *loader, struct block *block, const struct statement *option,
		 unsigned file)
{
	const struct option_spec *spec = option_find(block->options.table, option->name);
	struct place place = { file, option->line };

	if (!spec) {
		if (!refuse_block_name(loader, block, place, option->name))
			refuse_unknown_option(loader, block, place, option->name);
		return;
	}
	size_t row = (size_t)(spec - block->options.table->rows);
	if (!set_option(loader, block, spec, option, place))
		block->refused |= UINT64_C(1) << row;
	if (!block->first[row].line)
		block->first[row] = place;
}

/* Handles a statement in a block in which only options are valid. */
static void load_statement(struct loader *loader, struct block *block,
			   const struct statement *statement, unsigned file)
{
	switch (statement->kind) {
	case STATEMENT_BROKEN:
		break;
	case STATEMENT_OPTION:
		load_option(loader, block, statement, file);
		break;
	case STATEMENT_BLOCK:
		load_unknown_block(loader, block, statement, file);
		break;
	case STATEMENT_CALL:
		load_misplaced_call(loader, block, statement, file);
		break;
	}
}

void load_defaults(struct loader *loader, const struct statement *defaults, unsigned file)
{
	for (const struct statement *s = defaults->first; s; s = s->next)
		load_statement(loader, &loader->defaults, s, file);
}

/* ------------------------------------------------------------------ sources */

const void *load_source_defaults(const struct loader *loader, const struct source_type *type)
{
	size_t i = 0;

	while (loader->request->types[i] != type)
		i++;
	return loader->source_defaults[i];
}

static void check_required(struct loader *loader, struct block *block, struct place place)
{
	const struct option_spec *rows = block->options.table->rows;

	for (size_t i = 0; rows[i].name && !block->has_unknown; i++) {
		if (!rows[i].required || block->first[i].line ||
		    options_is_given(&block->options, &rows[i]))
			continue;
		block->refused |= UINT64_C(1) << i;
		complain(loader, block, place, "option \"%s\" is required", rows[i].name);
	}
}

static int make_source(struct loader *loader, struct draft *draft, const struct source_type *type,
		       const struct options *options, struct err *err)
{
	struct term_config *term = &draft->term;
	struct source source = { .type = type, .options = options->values };

	if (fingerprint_source(&source, load_source_defaults(loader, type), loader->digest, err) <
		    0 ||
	    legacy_fingerprint(options, type->name, loader->digest, &source.legacy_fingerprint,
			       err) < 0)
		return -1;
	if (term->n_sources == draft->n_allocated) {
		size_t n = draft->n_allocated ? 2 * draft->n_allocated : 1;
		struct source *sources = pool_alloc(loader->pool, n * sizeof(*sources));
		if (!sources)
			return err_set(err, ERR_INTERNAL, "out of memory");
		if (term->n_sources)
			memcpy(sources, term->sources, term->n_sources * sizeof(*sources));
		term->sources = sources;
		draft->n_allocated = n;
	}
	/* No helper: the command has the rights of its user. */
	if (type->init && type->init(&source.state, source.options, NULL, err) < 0)
		return -1;
	term->sources[term->n_sources++] = source;
	return 0;
}

/* Those of one source. */
struct source_problems {
	struct option_problems problems;
	struct loader *loader;
	struct block *block;
	struct place place; /* of the block */
};

static bool has_problem(const struct block *block, size_t row)
{
	return block->refused >> row & 1;
}

static size_t row_of(const struct block *block, const char *option)
{
	return (size_t)(option_find(block->options.table, option) - block->options.table->rows);
}

/* Is it due to a problem that was reported? An option that is missing may be the unknown one. */
static bool is_consequence(const struct block *block, const char *other)
{
	size_t row = row_of(block, other);

	return has_problem(block, row) ||
	       (block->has_unknown &&
		!options_is_given(&block->options, &block->options.table->rows[row]));
}

static void add_problem(struct option_problems *problems, const char *option, const char *other,
			const char *text)
{
	struct source_problems *source = container_of(problems, struct source_problems, problems);
	struct block *block = source->block;
	size_t row = row_of(block, option);

	if (has_problem(block, row) || (other && is_consequence(block, other)))
		return;
	block->refused |= UINT64_C(1) << row;
	complain(source->loader, block, block->first[row].line ? block->first[row] : source->place,
		 "%s", text);
}

void load_add_source(struct loader *loader, struct draft *draft, const struct source_type *type,
		     struct block *block, struct place place)
{
	struct source_problems source = { { add_problem }, loader, block, place };
	struct err err = ERR_INIT;

	check_required(loader, block, place);
	if (type->complete)
		type->complete(&block->options, &source.problems);
	if (type->check)
		type->check(block->options.values, &source.problems);
	if (!block->has_problem && make_source(loader, draft, type, &block->options, &err) < 0)
		complain(loader, block, place, "%s", err.msg);
}

static void load_source(struct loader *loader, struct draft *draft, const struct source_type *type,
			const struct statement *source, unsigned file)
{
	struct block block = { .term = draft->term.name, .kind = type->name };
	struct place place = { file, source->line };
	void *values = pool_alloc(loader->pool, type->options->size);

	if (!values) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	options_init(&block.options, type->options, values, load_source_defaults(loader, type),
		     loader->pool);
	for (const struct statement *s = source->first; s; s = s->next)
		load_statement(loader, &block, s, file);
	if (!source->is_incomplete)
		load_add_source(loader, draft, type, &block, place);
}

/* ------------------------------------------------------------------ terms */

struct draft *load_new_draft(struct loader *loader, const char *name, struct place place)
{
	const char *copy = pool_copy(loader->pool, name, strlen(name));

	if (copy && loader->n_drafts == loader->n_allocated) {
		size_t n = loader->n_allocated ? 2 * loader->n_allocated : 64;
		struct draft *drafts = reallocarray(loader->drafts, n, sizeof(*drafts));
		if (drafts) {
			loader->drafts = drafts;
			loader->n_allocated = n;
		}
		copy = drafts ? copy : NULL;
	}
	if (!copy) {
		problem_out_of_memory(&loader->problems);
		return NULL;
	}
	struct draft *draft = &loader->drafts[loader->n_drafts++];
	*draft = (struct draft){ .term.name = copy, .place = place };
	return draft;
}

void load_term(struct loader *loader, const struct statement *term, unsigned file)
{
	struct place place = { file, term->line };
	struct block block = { .term = term->title };
	struct term_config values;
	size_t n_sources = 0;
	struct draft *draft = load_new_draft(loader, term->title, place);
	struct err err = ERR_INIT;

	if (!draft)
		return;
	if (name_check(term->title, &err) < 0)
		problem_add(&loader->problems, place, term->title, "%s", err.msg);
	options_init(&block.options, &config_term_table, &values, loader->term_defaults,
		     loader->pool);
	for (const struct statement *s = term->first; s; s = s->next) {
		const struct source_type *type = s->kind == STATEMENT_BLOCK && !s->title
							 ? find_type(loader, s->name)
							 : NULL;
		n_sources += s->kind != STATEMENT_OPTION;
		if (type)
			load_source(loader, draft, type, s, file);
		else
			load_statement(loader, &block, s, file);
	}
	for (const struct option_spec *spec = config_term_table.rows; spec->name; spec++)
		option_copy(spec, &draft->term, &values);
	draft->given = block.options.given;
	if (n_sources == 0 && !term->is_incomplete && !block.has_unknown)
		problem_add(&loader->problems, place, term->title,
			    "it has no source: a block such as %s { … } is missing",
			    loader->request->types[0] ? loader->request->types[0]->name : "http");
}
