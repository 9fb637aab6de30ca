#include "config/config_sieve.h"

#include <stdarg.h>
#include <string.h>

#include "base/util.h"
#include "config/config_name.h"

/* Longer names of options are unknown anyway. */
#define WORD_SIZE 128

enum context { IN_ROOT, IN_DEFAULTS, IN_TERM, IN_SOURCE };

struct sieve {
	struct scanner *scanner;
	const struct schema *schema;
	struct sieve_notes *notes;
	const char *term;		/* title of the term that we are in, or NULL */
	const struct source_type *type; /* of the source that we are in, or NULL */
};

/* What one statement stands in. */
struct block {
	enum context context;
	const struct option_spec *options;
	unsigned line;
	const char *kind;
	bool is_incomplete;
};

__attribute__((format(printf, 3, 4))) static void complain(struct sieve *s, unsigned line,
							   const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	problem_add(s->scanner->problems, (struct place){ s->scanner->file, line }, s->term,
		    "%s%s%s", s->type ? s->type->name : "", s->type ? ": " : "", text);
}

/* As complain(), of what stands from the token to where we are: that is taken out. */
#define refuse(s, block, token, ...)                         \
	do {                                                 \
		complain((s), (token)->line, __VA_ARGS__);   \
		scanner_blank((s)->scanner, (token)->start); \
		(block)->is_incomplete = true;               \
	} while (0)

/* Nothing can be said of what follows. Returns false. */
static bool syntax_error(struct sieve *s, const struct token *token, const char *expected)
{
	char text[WORD_SIZE];

	if (s->scanner->is_broken)
		return false;
	if (token->type == TOKEN_END)
		complain(s, token->line, "syntax error: the file ends where %s is expected",
			 expected);
	else
		complain(s, token->line, "syntax error: \"%s\" where %s is expected",
			 scanner_text(s->scanner, token, text, sizeof(text)), expected);
	s->scanner->is_broken = true;
	return false;
}

static void out_of_memory(struct sieve *s)
{
	problem_out_of_memory(s->scanner->problems);
	s->scanner->is_broken = true;
}

static void note_block(struct sieve *s, const struct block *block)
{
	struct sieve_notes *notes = s->notes;

	if (notes->n_blocks == notes->n_allocated) {
		size_t n = notes->n_allocated ? 2 * notes->n_allocated : 64;
		struct block_note *blocks = reallocarray(notes->blocks, n, sizeof(*blocks));
		if (!blocks) {
			out_of_memory(s);
			return;
		}
		notes->blocks = blocks;
		notes->n_allocated = n;
	}
	notes->blocks[notes->n_blocks++] = (struct block_note){ block->line, block->is_incomplete };
}

static void note_used(struct sieve *s, const void *what)
{
	struct sieve_notes *notes = s->notes;

	if (sieve_notes_has(notes, what))
		return;
	const void **used = reallocarray(notes->used, notes->n_used + 1, sizeof(*used));
	if (!used) {
		out_of_memory(s);
		return;
	}
	notes->used = used;
	used[notes->n_used++] = what;
}

static const struct source_type *find_type(const struct sieve *s, const char *name)
{
	for (const struct source_type *const *type = s->schema->types; *type; type++) {
		if (strcmp((*type)->name, name) == 0)
			return *type;
	}
	return NULL;
}

/* The fetcher that has an option of that name, or NULL. */
static const struct source_type *type_with_option(const struct sieve *s, const char *name)
{
	for (const struct source_type *const *type = s->schema->types; *type; type++) {
		if (option_find((*type)->options, name))
			return *type;
	}
	return NULL;
}

static void refuse_unknown_option(struct sieve *s, struct block *block, const struct token *name,
				  const char *word)
{
	const char *nearest = option_nearest(block->options, word);
	const struct source_type *owner = block->context == IN_TERM ? type_with_option(s, word)
								    : NULL;
	bool in_file = block->context == IN_ROOT;

	if (block->context == IN_TERM && find_type(s, word))
		refuse(s, block, name, "\"%s\" is a block: %s { … }", word, word);
	else if (in_file && (strcmp(word, "term") == 0 || strcmp(word, "defaults") == 0))
		refuse(s, block, name, "\"%s\" is a block", word);
	else if (owner)
		refuse(s, block, name,
		       "option \"%s\" belongs into a block of its fetcher: %s { … }", word,
		       owner->name);
	else if (in_file && option_find(s->schema->term, word))
		refuse(s, block, name, "option \"%s\" belongs into a term or defaults { … }", word);
	else if (nearest)
		refuse(s, block, name, "unknown option \"%s\"; did you mean \"%s\"?", word,
		       nearest);
	else
		refuse(s, block, name, "unknown option \"%s\"", word);
}

/* The rest of a value after its "=". Sets whether it is a list in braces. */
static bool skip_value(struct sieve *s, bool *ret_is_list)
{
	struct token token = scanner_next(s->scanner);

	*ret_is_list = token.type == '{';
	if (token.type == TOKEN_WORD)
		return true;
	if (token.type != '{')
		return syntax_error(s, &token, "a value");
	for (;;) {
		token = scanner_next(s->scanner);
		if (token.type == '}')
			return true;
		if (token.type != TOKEN_WORD)
			return syntax_error(s, &token, "an element of a list");
		token = scanner_next(s->scanner);
		if (token.type == '}')
			return true;
		if (token.type != ',')
			return syntax_error(s, &token, "\",\" or \"}\" in a list");
	}
}

static bool sieve_option(struct sieve *s, struct block *block, const struct token *name,
			 bool is_appended)
{
	char word[WORD_SIZE];
	bool is_list = false;

	if (!skip_value(s, &is_list))
		return false;
	scanner_text(s->scanner, name, word, sizeof(word));
	const struct option_spec *spec = option_find(block->options, word);
	if (!spec)
		refuse_unknown_option(s, block, name, word);
	else if (is_list && spec->type != OPTION_STRINGS)
		refuse(s, block, name, "%s: takes one value, not a list", word);
	else if (is_appended && spec->type != OPTION_STRINGS)
		refuse(s, block, name, "%s: \"+=\" is for lists", word);
	else if (block->context == IN_DEFAULTS && strcmp(word, "alias") == 0)
		refuse(s, block, name, "defaults: an alias belongs to one term");
	else
		note_used(s, spec);
	return true;
}

/* Behind the "{" of an unknown block: moves behind its "}". */
static bool skip_block(struct sieve *s)
{
	for (size_t depth = 1; depth > 0;) {
		struct token token = scanner_next(s->scanner);
		if (token.type == TOKEN_END)
			return syntax_error(s, &token, "\"}\"");
		depth += token.type == '{';
		depth -= token.type == '}';
	}
	return true;
}

static void refuse_unknown_block(struct sieve *s, struct block *block, const struct token *name,
				 const char *word)
{
	char known[256] = "";
	size_t used = 0;

	if (option_find(block->options, word)) {
		refuse(s, block, name, "\"%s\" is an option, not a block: %s = …", word, word);
		return;
	}
	if (block->context == IN_ROOT && find_type(s, word)) {
		refuse(s, block, name, "a block \"%s\" belongs into a term", word);
		return;
	}
	if (block->context == IN_DEFAULTS && find_type(s, word)) {
		refuse(s, block, name, "defaults: a source belongs to one term");
		return;
	}
	if (block->context != IN_TERM) {
		refuse(s, block, name, "unknown block \"%s\"", word);
		return;
	}
	for (const struct source_type *const *type = s->schema->types; *type; type++) {
		int n = snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "",
				 (*type)->name);
		if (n > 0 && (size_t)n < sizeof(known) - used)
			used += (size_t)n;
	}
	refuse(s, block, name, "unknown fetcher \"%s\"; there are: %s", word, known);
}

static bool sieve_statements(struct sieve *s, struct block *block);

/* Walks over a block that may stand here. */
static bool sieve_inner(struct sieve *s, struct block *inner)
{
	if (!sieve_statements(s, inner))
		return false;
	note_block(s, inner);
	return !s->scanner->is_broken;
}

static bool sieve_term(struct sieve *s, const struct token *name, const struct token *title)
{
	char term[NAME_MAX_BYTES + 64];
	struct block inner = {
		.context = IN_TERM, .options = s->schema->term, .line = name->line, .kind = "term"
	};

	s->term = scanner_text(s->scanner, title, term, sizeof(term));
	bool followed = sieve_inner(s, &inner);
	s->term = NULL;
	return followed;
}

static bool sieve_source(struct sieve *s, const struct token *name, const struct source_type *type)
{
	struct block inner = { .context = IN_SOURCE,
			       .options = type->options,
			       .line = name->line,
			       .kind = type->name };

	note_used(s, type);
	s->type = type;
	bool followed = sieve_inner(s, &inner);
	s->type = NULL;
	return followed;
}

/* Behind the "{". */
static bool sieve_block(struct sieve *s, struct block *block, const struct token *name,
			const struct token *title)
{
	char word[WORD_SIZE];

	scanner_text(s->scanner, name, word, sizeof(word));
	const struct source_type *type = block->context == IN_TERM ? find_type(s, word) : NULL;
	bool is_term = block->context == IN_ROOT && strcmp(word, "term") == 0;
	bool is_defaults = block->context == IN_ROOT && strcmp(word, "defaults") == 0;

	if (is_term && title)
		return sieve_term(s, name, title);
	if (type && !title)
		return sieve_source(s, name, type);
	if (is_defaults && !title)
		return sieve_inner(s, &(struct block){ .context = IN_DEFAULTS,
						       .options = s->schema->term,
						       .line = name->line,
						       .kind = "defaults" });
	if (!skip_block(s))
		return false;
	if (is_term)
		refuse(s, block, name, "a term needs a name: term \"NAME\" { … }");
	else if (type || is_defaults)
		refuse(s, block, name, "a block \"%s\" has no name: %s { … }", word, word);
	else
		refuse_unknown_block(s, block, name, word);
	return true;
}

/* Behind the "(". */
static bool sieve_call(struct sieve *s, struct block *block, const struct token *name)
{
	char word[WORD_SIZE];
	size_t n_arguments = 0;
	bool is_plain = true;

	for (;;) {
		struct token token = scanner_next(s->scanner);
		if (token.type == ')')
			break;
		if (token.type != TOKEN_WORD && token.type != ',')
			return syntax_error(s, &token, "\")\"");
		n_arguments += token.type == TOKEN_WORD;
		is_plain = is_plain && token.type == TOKEN_WORD;
	}
	scanner_text(s->scanner, name, word, sizeof(word));
	if (strcmp(word, "include") != 0)
		refuse(s, block, name, "unknown function \"%s\"; there is only include(\"FILE\")",
		       word);
	else if (block->context != IN_ROOT)
		refuse(s, block, name, "include() belongs outside of all blocks");
	else if (n_arguments != 1 || !is_plain)
		refuse(s, block, name, "include() takes one file name: include(\"conf.d/*.conf\")");
	return true;
}

static bool sieve_statement(struct sieve *s, struct block *block, const struct token *name)
{
	char expected[WORD_SIZE + 64], word[WORD_SIZE];

	scanner_text(s->scanner, name, word, sizeof(word));
	if (strcmp(word, ";") == 0) {
		refuse(s, block, name, "options do not end with \";\"");
		return true;
	}
	struct token token = scanner_next(s->scanner);
	switch (token.type) {
	case '=':
	case '+':
		return sieve_option(s, block, name, token.type == '+');
	case '{':
		return sieve_block(s, block, name, NULL);
	case '(':
		return sieve_call(s, block, name);
	case TOKEN_WORD: {
		struct token open = scanner_next(s->scanner);
		if (open.type == '{')
			return sieve_block(s, block, name, &token);
		break;
	}
	default:
		break;
	}
	snprintf(expected, sizeof(expected), "\"=\" or \"{\" after \"%s\"", word);
	return syntax_error(s, &token, expected);
}

static bool sieve_statements(struct sieve *s, struct block *block)
{
	char expected[64];

	for (;;) {
		struct token name = scanner_next(s->scanner);
		size_t n_blocks = s->notes->n_blocks;
		if (name.type == '}' && block->context != IN_ROOT)
			return true;
		if (name.type == TOKEN_END && block->context == IN_ROOT)
			return !s->scanner->is_broken;
		if (name.type == TOKEN_END) {
			snprintf(expected, sizeof(expected), "the \"}\" of \"%s\" on line %u",
				 block->kind, block->line);
			return syntax_error(s, &name, expected);
		}
		if (name.type == TOKEN_WORD && sieve_statement(s, block, &name))
			continue;
		if (name.type != TOKEN_WORD)
			syntax_error(s, &name, "an option or a block");
		if (block->context == IN_ROOT) {
			s->scanner->len = name.start;
			s->notes->n_blocks = n_blocks;
		}
		return false;
	}
}

void sieve_notes_release(struct sieve_notes *notes)
{
	free(notes->blocks);
	free(notes->used);
}

bool sieve_notes_has(const struct sieve_notes *notes, const void *what)
{
	for (size_t i = 0; i < notes->n_used; i++) {
		if (notes->used[i] == what)
			return true;
	}
	return false;
}

void config_sieve(struct scanner *scanner, const struct schema *schema, struct sieve_notes *notes)
{
	struct sieve sieve = { .scanner = scanner, .schema = schema, .notes = notes };
	struct block root = { .context = IN_ROOT, .options = schema->root };

	sieve_statements(&sieve, &root);
	scanner->data[scanner->len] = '\0';
}
