#include "config/config_parse.h"

#include <confuse.h>
#include <stdarg.h>
#include <string.h>

#include "base/util.h"

struct parser {
	struct scanner *scanner;
	const struct schema *schema;
	const struct sieve_notes *notes;
	const struct parse_handler *handler;
	size_t next_note;
	struct raw_block root;
	struct raw_block open; /* the term or defaults that is open */
	struct raw_block open_source;
	struct raw_source *sources; /* of the open term; the first n_sources are in use */
	size_t n_sources;
	size_t n_allocated;
};

/* libconfuse has no room for an argument of ours. */
static struct parser *parser;

static void block_clear(struct raw_block *block)
{
	for (size_t i = 0; i < block->n_values; i++)
		free(block->values[i].text);
	block->n_values = 0;
	block->is_incomplete = false;
}

static void block_release(struct raw_block *block)
{
	block_clear(block);
	free(block->values);
}

static int out_of_memory(void)
{
	problem_out_of_memory(parser->scanner->problems);
	return -1;
}

static int block_add(struct raw_block *block, const struct option_spec *spec, const char *text,
		     unsigned line, bool is_first)
{
	if (block->n_values == block->n_allocated) {
		size_t n = block->n_allocated ? 2 * block->n_allocated : 16;
		struct raw_value *values = reallocarray(block->values, n, sizeof(*values));
		if (!values)
			return out_of_memory();
		block->values = values;
		block->n_allocated = n;
	}
	char *copy = strdup(text);
	if (!copy)
		return out_of_memory();
	block->values[block->n_values++] = (struct raw_value){
		.spec = spec, .text = copy, .line = line, .is_first = is_first
	};
	return 0;
}

/* libconfuse's parse callback of each option: once for each value or element of a list. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	const char *section = cfg_name(cfg);
	struct raw_block *block = &parser->open_source;
	const struct option_spec *table = NULL;

	if (strcmp(section, "root") == 0) {
		block = &parser->root;
		table = parser->schema->root;
	} else if (strcmp(section, "term") == 0 || strcmp(section, "defaults") == 0) {
		block = &parser->open;
		table = parser->schema->term;
	}
	for (size_t i = 0; !table && parser->schema->types[i]; i++) {
		if (strcmp(section, parser->schema->types[i]->name) == 0)
			table = parser->schema->types[i]->options;
	}
	const struct option_spec *spec = table ? option_find(table, cfg_opt_name(opt)) : NULL;
	if (!spec)
		return -1;
	/* An assignment throws away the values before; what "+=" adds is not the first. */
	bool is_first = spec->type != OPTION_STRINGS || opt->nvalues == 1;
	*(const char **)result = value;
	return block_add(block, spec, value, (unsigned)cfg->line, is_first);
}

static struct block_note take_note(const cfg_t *cfg)
{
	if (parser->next_note < parser->notes->n_blocks)
		return parser->notes->blocks[parser->next_note++];
	return (struct block_note){ .line = (unsigned)cfg->line };
}

static void apply_note(struct raw_block *block, struct block_note note)
{
	block->line = note.line;
	block->is_incomplete = note.is_incomplete;
}

/* A fetcher's block has closed. */
static int on_source(cfg_t *cfg, cfg_opt_t *opt)
{
	const struct source_type *const *type = parser->schema->types;

	while (*type && strcmp((*type)->name, cfg_opt_name(opt)) != 0)
		type++;
	if (parser->n_sources == parser->n_allocated) {
		size_t n = parser->n_allocated + 4;
		struct raw_source *sources = reallocarray(parser->sources, n, sizeof(*sources));
		if (!sources)
			return out_of_memory();
		memset(sources + parser->n_allocated, 0, 4 * sizeof(*sources));
		parser->sources = sources;
		parser->n_allocated = n;
	}
	/* The two exchange their arrays, so that both are used again. */
	struct raw_source *source = &parser->sources[parser->n_sources++];
	struct raw_block unused = source->block;
	source->type = *type;
	source->block = parser->open_source;
	parser->open_source = unused;
	apply_note(&source->block, take_note(cfg));
	return cfg_opt_rmnsec(opt, 0);
}

static void clear_open(void)
{
	block_clear(&parser->open);
	for (size_t i = 0; i < parser->n_sources; i++)
		block_clear(&parser->sources[i].block);
	parser->n_sources = 0;
}

static int on_term(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *section = cfg_opt_getnsec(opt, 0);

	apply_note(&parser->open, take_note(cfg));
	if (section && cfg_title(section))
		parser->handler->term(parser->handler->arg, cfg_title(section), &parser->open,
				      parser->sources, parser->n_sources);
	clear_open();
	return cfg_opt_rmnsec(opt, 0);
}

static int on_defaults(cfg_t *cfg, cfg_opt_t *opt)
{
	apply_note(&parser->open, take_note(cfg));
	parser->handler->defaults(parser->handler->arg, &parser->open);
	clear_open();
	return cfg_opt_rmnsec(opt, 0);
}

static int on_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	(void)opt;
	for (int i = 0; i < argc; i++)
		parser->handler->include(parser->handler->arg, argv[i], (unsigned)cfg->line);
	return 0;
}

/* Only for what the sieve lets through and libconfuse does not. */
static void on_error(cfg_t *cfg, const char *fmt, va_list args)
{
	char text[512];

	if (parser->scanner->problems->out_of_memory)
		return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	vsnprintf(text, sizeof(text), fmt, args);
#pragma GCC diagnostic pop
	problem_add(parser->scanner->problems,
		    (struct place){ parser->scanner->file, (unsigned)cfg->line }, NULL,
		    "syntax error: %s", text);
}

/* libconfuse's rows for those of ours that the text has, with room for `extra` more: it copies all
 * rows of a section, with those below, whenever one begins. The caller's. */
static cfg_opt_t *make_rows(const struct sieve_notes *notes, const struct option_spec *table,
			    size_t extra, size_t *ret_n)
{
	size_t n_specs = 0, n = 0;

	while (table[n_specs].name)
		n_specs++;
	cfg_opt_t *rows = calloc(n_specs + extra + 1, sizeof(*rows));
	for (const struct option_spec *spec = table; rows && spec->name; spec++) {
		if (!sieve_notes_has(notes, spec))
			continue;
		rows[n++] = (cfg_opt_t){
			.name = spec->name,
			.type = CFGT_STR,
			.flags = CFGF_NODEFAULT |
				 (spec->type == OPTION_STRINGS ? CFGF_LIST : CFGF_NONE),
			.parsecb = on_value,
		};
	}
	*ret_n = n;
	return rows;
}

static void free_rows(cfg_opt_t *rows)
{
	for (cfg_opt_t *row = rows; row && row->name; row++)
		free_rows(row->subopts);
	free(rows);
}
DEFINE_CLEANUP(cfg_opt_t, free_rows)

static cfg_opt_t *make_term_rows(const struct schema *schema, const struct sieve_notes *notes)
{
	size_t n_types = 0, n = 0;

	while (schema->types[n_types])
		n_types++;
	_cleanup_(free_rows_cleanup) cfg_opt_t *rows = make_rows(notes, schema->term, n_types, &n);
	for (size_t i = 0; rows && i < n_types; i++) {
		size_t n_unused = 0;
		if (!sieve_notes_has(notes, schema->types[i]))
			continue;
		cfg_opt_t *subopts = make_rows(notes, schema->types[i]->options, 0, &n_unused);
		if (!subopts)
			return NULL;
		rows[n++] = (cfg_opt_t){ .name = schema->types[i]->name,
					 .type = CFGT_SEC,
					 .flags = CFGF_MULTI,
					 .subopts = subopts,
					 .validcb = on_source };
	}
	return steal_ptr(&rows);
}

static cfg_opt_t *make_root_rows(const struct schema *schema, const struct sieve_notes *notes)
{
	size_t n = 0, n_unused = 0;
	_cleanup_(free_rows_cleanup) cfg_opt_t *rows = make_rows(notes, schema->root, 3, &n);
	_cleanup_(free_rows_cleanup) cfg_opt_t *term = make_term_rows(schema, notes);
	_cleanup_(free_rows_cleanup)
		cfg_opt_t *defaults = make_rows(notes, schema->term, 0, &n_unused);

	if (!rows || !term || !defaults)
		return NULL;
	rows[n] = (cfg_opt_t){ .name = "term",
			       .type = CFGT_SEC,
			       .flags = CFGF_MULTI | CFGF_TITLE,
			       .subopts = steal_ptr(&term),
			       .validcb = on_term };
	rows[n + 1] = (cfg_opt_t){ .name = "defaults",
				   .type = CFGT_SEC,
				   .flags = CFGF_MULTI,
				   .subopts = steal_ptr(&defaults),
				   .validcb = on_defaults };
	rows[n + 2] = (cfg_opt_t){ .name = "include", .type = CFGT_FUNC, .func = on_include };
	return steal_ptr(&rows);
}

static void parser_release(struct parser *p)
{
	block_release(&p->root);
	block_release(&p->open);
	block_release(&p->open_source);
	for (size_t i = 0; i < p->n_allocated; i++)
		block_release(&p->sources[i].block);
	free(p->sources);
}

static void run_libconfuse(struct scanner *scanner, cfg_opt_t *rows)
{
	_cleanup_fclose_ FILE *file = fmemopen(scanner->data, scanner->len, "r");
	cfg_t *cfg = file ? cfg_init(rows, CFGF_NONE) : NULL;

	if (!cfg) {
		problem_out_of_memory(scanner->problems);
		return;
	}
	cfg_set_error_function(cfg, on_error);
	if (cfg_parse_fp(cfg, file) != CFG_SUCCESS && !problems_any(scanner->problems))
		problem_add(scanner->problems, (struct place){ scanner->file, (unsigned)cfg->line },
			    NULL, "syntax error");
	cfg_free(cfg);
}

void config_parse(struct scanner *scanner, const struct schema *schema,
		  const struct sieve_notes *notes, const struct parse_handler *handler)
{
	_cleanup_(free_rows_cleanup) cfg_opt_t *rows = make_root_rows(schema, notes);
	struct parser state = {
		.scanner = scanner, .schema = schema, .notes = notes, .handler = handler
	};

	if (!rows) {
		problem_out_of_memory(scanner->problems);
		return;
	}
	parser = &state;
	if (scanner->len > 0)
		run_libconfuse(scanner, rows);
	handler->root(handler->arg, &state.root);
	parser = NULL;
	parser_release(&state);
}
