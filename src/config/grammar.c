#include "config/grammar.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "base/util.h"
#include "config/pool.h"

#define FILE_MAX_BYTES ((size_t)256 << 20)
#define DEPTH_MAX      16
#define SHOWN_MAX      128

/* The other tokens are '{' '}' '(' ')' '=' ',' and, for "+=", '+'. */
enum { TOKEN_END, TOKEN_WORD = 256 };

struct token {
	int type;
	unsigned line;	  /* where it begins */
	bool is_quoted;	  /* of a word */
	const char *text; /* of a word, owned by the memory of the statement */
};

struct open_block {
	struct statement *block;
	struct statement **next; /* where its next statement goes */
};

struct grammar {
	char *data; /* owned; NUL-terminated */
	size_t len, pos;
	unsigned line;
	unsigned file;
	struct problems *problems;
	bool is_broken;	     /* the rest is not parsed; the problem was reported */
	struct pool *memory; /* owned; of the current statement */
	char *word;	     /* owned; the word that is being scanned */
	size_t word_len, word_size;
	const char **texts; /* owned; the list that is being parsed */
	size_t n_texts, texts_size;
	struct token again; /* pushed back; is_again */
	bool is_again;
	struct open_block open[DEPTH_MAX];
	size_t depth;
};

/* ------------------------------------------------------------------ the file */

static int read_all(int fd, char **ret, size_t *ret_len, struct err *err)
{
	_cleanup_free_ char *data = NULL;
	size_t size = 0, len = 0;

	for (;;) {
		if (len + 1 >= size) {
			size = size ? 2 * size : 16384;
			char *larger = realloc(data, size);
			if (!larger)
				return err_set(err, ERR_INTERNAL, "out of memory");
			data = larger;
		}
		ssize_t n = read(fd, data + len, size - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "cannot read it");
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > FILE_MAX_BYTES)
			return err_set(err, ERR_CONFIG, "it is larger than 256 MiB");
	}
	data[len] = '\0';
	*ret = steal_ptr(&data);
	*ret_len = len;
	return 0;
}

DEFINE_CLEANUP(struct grammar, grammar_free)

int grammar_read(struct grammar **ret, int fd, struct err *err)
{
	_cleanup_(grammar_free_cleanup) struct grammar *grammar = calloc(1, sizeof(*grammar));

	if (!grammar)
		return err_set(err, ERR_INTERNAL, "out of memory");
	if (read_all(fd, &grammar->data, &grammar->len, err) < 0)
		return -1;
	grammar->line = 1;
	if (strncmp(grammar->data, "\xef\xbb\xbf", 3) == 0)
		grammar->pos = 3;
	*ret = steal_ptr(&grammar);
	return 0;
}

void grammar_free(struct grammar *grammar)
{
	if (!grammar)
		return;
	pool_free(grammar->memory);
	free(grammar->word);
	free(grammar->texts);
	free(grammar->data);
	free(grammar);
}

void grammar_report_to(struct grammar *grammar, struct problems *problems, unsigned file)
{
	grammar->problems = problems;
	grammar->file = file;
}

/* ------------------------------------------------------------------ problems */

/* Prefixes the message with the names of the open blocks. */
__attribute__((format(printf, 3, 4))) static void complain(struct grammar *g, unsigned line,
							   const char *fmt, ...)
{
	const struct statement *outer = g->depth > 0 ? g->open[0].block : NULL;
	const struct statement *inner = g->depth > 1 ? g->open[1].block : NULL;
	va_list args;

	va_start(args, fmt);
	problem_add_about(g->problems, (struct place){ g->file, line }, outer ? outer->title : NULL,
			  inner ? inner->name : NULL, fmt, args);
	va_end(args);
}

/* After this there are no more tokens. */
#define give_up(g, line, ...)                               \
	do {                                                \
		if (!(g)->is_broken)                        \
			complain((g), (line), __VA_ARGS__); \
		(g)->is_broken = true;                      \
	} while (0)

static void out_of_memory(struct grammar *g)
{
	problem_out_of_memory(g->problems);
	g->is_broken = true;
}

static void syntax_error(struct grammar *g, const struct token *token, const char *expected)
{
	char punctuation[] = { (char)token->type, '\0' };
	const char *text = token->type == '+' ? "+=" : punctuation;

	if (token->type == TOKEN_END)
		give_up(g, token->line, "syntax error: the file ends where %s is expected",
			expected);
	else
		give_up(g, token->line, "syntax error: \"%.*s\" where %s is expected", SHOWN_MAX,
			token->type == TOKEN_WORD ? token->text : text, expected);
}

/* ------------------------------------------------------------------ words */

static void put(struct grammar *g, const char *bytes, size_t len)
{
	if (len >= g->word_size - g->word_len) {
		size_t size = 2 * (g->word_len + len) + 256;
		char *word = realloc(g->word, size);
		if (!word) {
			out_of_memory(g);
			return;
		}
		g->word = word;
		g->word_size = size;
	}
	memcpy(g->word + g->word_len, bytes, len);
	g->word_len += len;
}

static void put_byte(struct grammar *g, char byte)
{
	put(g, &byte, 1);
}

/* At "${": ${NAME} or ${NAME:-DEFAULT}. end: characters that cannot be in it. */
static void scan_variable(struct grammar *g, const char *end)
{
	char *name = g->data + g->pos + 2;
	size_t len = 0;

	while (isalnum((unsigned char)name[len]) || name[len] == '_')
		len++;
	bool has_default = name[len] == ':' && name[len + 1] == '-';
	size_t total = len + strcspn(name + len, end);
	if (len == 0 || isdigit((unsigned char)*name) || name[total] != '}' ||
	    (total > len && !has_default)) {
		give_up(g, g->line,
			"\"${\" begins a variable, ${NAME} or ${NAME:-DEFAULT}; "
			"for the characters themselves write \"\\${\"");
		return;
	}
	_cleanup_free_ char *copy = strndup(name, len);
	if (!copy) {
		out_of_memory(g);
		return;
	}
	const char *value = getenv(copy);
	if (value)
		put(g, value, strlen(value));
	else if (has_default)
		put(g, name + len + 2, total - len - 2);
	else
		problem_add(
			g->problems, (struct place){ g->file, g->line }, NULL,
			"the environment variable %.64s is not set; ${%.64s:-} would be empty%s",
			copy, copy,
			strcmp(copy, "CREDENTIALS_DIRECTORY") == 0
				? "; systemd sets it with LoadCredential=, and --check-config "
				  "takes --credentials-directory DIR"
				: "");
	g->pos += 2 + total + 1;
}

/* One to three digits behind "\". */
static void scan_octal(struct grammar *g, const char *digits)
{
	size_t len = strspn(digits, "0123456789");
	unsigned code = 0;

	if (len > 3 || strspn(digits, "01234567") < len) {
		give_up(g, g->line, "a \"\\\" is followed by one to three octal digits");
		return;
	}
	for (size_t i = 0; i < len; i++)
		code = code * 8 + (unsigned)(digits[i] - '0');
	if (code == 0 || code > 0xff)
		give_up(g, g->line,
			code ? "an octal number above \\377"
			     : "a string cannot have a NUL byte in it");
	put_byte(g, (char)code);
	g->pos += 1 + len;
}

static void scan_hexadecimal(struct grammar *g, const char *digits)
{
	char pair[] = { digits[0], isxdigit((unsigned char)digits[1]) ? digits[1] : '\0', '\0' };
	unsigned long code = strtoul(pair, NULL, 16);

	if (code == 0)
		give_up(g, g->line, "a string cannot have a NUL byte in it");
	put_byte(g, (char)code);
	g->pos += 2 + strlen(pair);
}

/* At the backslash in a string in double quotes. */
static void scan_escape(struct grammar *g)
{
	static const char letters[] = "nrtbfaev", bytes[] = "\n\r\t\b\f\a\033\v";
	const char *escape = g->data + g->pos + 1;
	const char *letter = *escape ? strchr(letters, *escape) : NULL;

	if (isdigit((unsigned char)*escape)) {
		scan_octal(g, escape);
		return;
	}
	if (*escape == 'x' && isxdigit((unsigned char)escape[1])) {
		scan_hexadecimal(g, escape + 1);
		return;
	}
	if (*escape == '\n')
		g->line++;
	else if (*escape)
		put_byte(g, letter ? bytes[letter - letters] : *escape);
	/* The caller reports the end of the text, or a NUL byte. */
	g->pos += *escape ? 2 : 1;
}

/* At the backslash in a string in single quotes. */
static void scan_simple_escape(struct grammar *g)
{
	const char *escape = g->data + g->pos + 1;

	if (*escape == '\n') {
		g->line++;
	} else if (*escape) {
		if (*escape != '\'' && *escape != '\\')
			put_byte(g, '\\');
		put_byte(g, *escape);
	}
	g->pos += *escape ? 2 : 1;
}

static void scan_string(struct grammar *g, char quote)
{
	const char *plain_end = quote == '"' ? "\"\\$\n" : "'\\\n";
	unsigned line = g->line;

	for (g->pos++; !g->is_broken && g->pos < g->len && g->data[g->pos] != quote;) {
		const char *p = g->data + g->pos;
		if (*p == '\0') {
			give_up(g, g->line, "there is a NUL byte here");
		} else if (*p == '\\' && quote == '"') {
			scan_escape(g);
		} else if (*p == '\\') {
			scan_simple_escape(g);
		} else if (quote == '"' && *p == '$' && p[1] == '{') {
			scan_variable(g, "}\"\n");
		} else {
			size_t len = 1 + strcspn(p + 1, plain_end);
			g->line += *p == '\n';
			put(g, p, len);
			g->pos += len;
		}
	}
	if (g->pos >= g->len)
		give_up(g, line, "the string that begins here has no end");
	g->pos++;
}

static bool is_word(char c)
{
	return ((unsigned char)c > ' ' && c != 0x7f && !strchr("#\"'={}()+,*", c));
}

static void scan_word(struct grammar *g)
{
	size_t start = g->pos;

	while (g->pos < g->len && is_word(g->data[g->pos])) {
		if (g->data[g->pos] == '$' && g->data[g->pos + 1] == '{') {
			give_up(g, g->line,
				"a text that contains ${VARIABLE} must be in double quotes");
			return;
		}
		g->pos++;
	}
	put(g, g->data + start, g->pos - start);
}

/* ------------------------------------------------------------------ tokens */

static void skip_block_comment(struct grammar *g)
{
	const char *end = strstr(g->data + g->pos + 2, "*/");
	unsigned line = g->line;

	if (!end) {
		give_up(g, line, "the comment that begins here has no end");
		return;
	}
	for (; g->data + g->pos < end; g->pos++)
		g->line += g->data[g->pos] == '\n';
	g->pos += 2;
}

/* Moves past blanks and comments. */
static void skip_blanks(struct grammar *g)
{
	while (!g->is_broken && g->pos < g->len) {
		char c = g->data[g->pos], next = g->data[g->pos + 1];
		if (c == '\n')
			g->line++;
		if (c == '\n' || c == ' ' || c == '\t' || c == '\r')
			g->pos++;
		else if (c == '#' || (c == '/' && next == '/'))
			g->pos += strcspn(g->data + g->pos, "\n");
		else if (c == '/' && next == '*')
			skip_block_comment(g);
		else
			return;
	}
}

static void skip_stray(struct grammar *g)
{
	unsigned char c = (unsigned char)g->data[g->pos++];

	if (c > ' ' && c < 0x7f)
		complain(g, g->line, "unexpected \"%c\"", c);
	else
		complain(g, g->line, "unexpected byte 0x%02x", c);
}

/* The word at the position, if there is one. */
static bool scan_text(struct grammar *g, struct token *token)
{
	char c = g->data[g->pos], next = g->data[g->pos + 1];

	g->word_len = 0;
	token->is_quoted = c == '"' || c == '\'';
	if (token->is_quoted)
		scan_string(g, c);
	else if (c == '$' && next == '{')
		scan_variable(g, "}\n");
	else if (is_word(c))
		scan_word(g);
	else
		return false;
	token->type = TOKEN_WORD;
	char *text = g->is_broken ? NULL : pool_alloc(g->memory, g->word_len + 1);
	if (!text) {
		if (!g->is_broken)
			out_of_memory(g);
		token->type = TOKEN_END;
		return true;
	}
	if (g->word_len)
		memcpy(text, g->word, g->word_len);
	token->text = text;
	return true;
}

/* Returns TOKEN_END at the end of the text, and after a syntax error. */
static struct token next_token(struct grammar *g)
{
	if (g->is_again) {
		g->is_again = false;
		return g->again;
	}
	for (skip_blanks(g); !g->is_broken && g->pos < g->len; skip_blanks(g)) {
		struct token token = { .line = g->line };
		char c = g->data[g->pos], next = g->data[g->pos + 1];

		if (c && strchr("{}()=,", c)) {
			token.type = c;
			g->pos++;
			return token;
		}
		if (c == '+' && next == '=') {
			token.type = c;
			g->pos += 2;
			return token;
		}
		if (scan_text(g, &token))
			return token;
		skip_stray(g);
	}
	return (struct token){ .type = TOKEN_END, .line = g->line };
}

/* ------------------------------------------------------------------ statements */

static void add_text(struct grammar *g, const char *text)
{
	if (g->n_texts == g->texts_size) {
		size_t size = g->texts_size ? 2 * g->texts_size : 16;
		const char **texts = reallocarray(g->texts, size, sizeof(*texts));
		if (!texts) {
			out_of_memory(g);
			return;
		}
		g->texts = texts;
		g->texts_size = size;
	}
	g->texts[g->n_texts++] = text;
}

static void take_texts(struct grammar *g, struct statement *statement)
{
	statement->texts = pool_alloc(g->memory, (g->n_texts + 1) * sizeof(*statement->texts));
	if (!statement->texts) {
		out_of_memory(g);
		return;
	}
	if (g->n_texts)
		memcpy(statement->texts, g->texts, g->n_texts * sizeof(*g->texts));
	statement->n_texts = g->n_texts;
}

/* Behind the "{". */
static void parse_list(struct grammar *g)
{
	for (struct token token = next_token(g); token.type != '}'; token = next_token(g)) {
		if (token.type != TOKEN_WORD) {
			syntax_error(g, &token, "an element of a list");
			return;
		}
		add_text(g, token.text);
		token = next_token(g);
		if (token.type == '}')
			return;
		if (token.type != ',') {
			syntax_error(g, &token, "\",\" or \"}\" in a list");
			return;
		}
	}
}

/* Behind the "=". */
static void parse_value(struct grammar *g, struct statement *option)
{
	struct token token = next_token(g);

	g->n_texts = 0;
	option->is_list = token.type == '{';
	if (token.type == TOKEN_WORD)
		add_text(g, token.text);
	else if (token.type == '{')
		parse_list(g);
	else
		syntax_error(g, &token, "a value");
	if (g->is_broken)
		return;
	option->kind = STATEMENT_OPTION;
	take_texts(g, option);
}

/* Behind the "(". Only the number of the arguments matters to the caller. */
static void parse_arguments(struct grammar *g, struct statement *call)
{
	g->n_texts = 0;
	for (struct token token = next_token(g); token.type != ')'; token = next_token(g)) {
		if (token.type != TOKEN_WORD && token.type != ',') {
			syntax_error(g, &token, "\")\"");
			return;
		}
		add_text(g, token.type == TOKEN_WORD ? token.text : ",");
	}
	call->kind = STATEMENT_CALL;
	take_texts(g, call);
}

static struct statement *new_statement(struct grammar *g, const struct token *name)
{
	struct statement *statement = pool_alloc(g->memory, sizeof(*statement));

	if (!statement) {
		out_of_memory(g);
		return NULL;
	}
	statement->line = name->line;
	statement->name = name->text;
	return statement;
}

static void open_block(struct grammar *g, struct statement *block, const char *title)
{
	block->kind = STATEMENT_BLOCK;
	block->title = title;
	if (g->depth == DEPTH_MAX) {
		give_up(g, block->line, "blocks are nested too deeply");
		return;
	}
	g->open[g->depth++] = (struct open_block){ block, &block->first };
}

static void end_unclosed(struct grammar *g)
{
	for (size_t i = 0; i < g->depth; i++)
		g->open[i].block->is_incomplete = true;
}

/* Reports the innermost block that is open, and closes all. */
static void close_unclosed(struct grammar *g)
{
	const struct statement *block = g->open[g->depth - 1].block;

	complain(g, block->line, "syntax error: the \"{\" of \"%s\" has no \"}\"", block->name);
	end_unclosed(g);
	g->depth = 0;
}

/* From the name to the end of an option or call, or to the "{" of a block. */
static void parse_statement(struct grammar *g, struct statement *statement)
{
	char expected[SHOWN_MAX + 64];
	struct token token = next_token(g);

	switch (token.type) {
	case '+':
	case '=':
		statement->is_appended = token.type == '+';
		parse_value(g, statement);
		return;
	case '(':
		parse_arguments(g, statement);
		return;
	case '{':
		open_block(g, statement, NULL);
		return;
	case TOKEN_WORD: {
		struct token brace = next_token(g);
		if (brace.type == '{') {
			open_block(g, statement, token.text);
			return;
		}
		break;
	}
	default:
		break;
	}
	snprintf(expected, sizeof(expected), "\"=\" or \"{\" after \"%.*s\"", SHOWN_MAX,
		 statement->name);
	syntax_error(g, &token, expected);
}

/* Returns whether a term begins at this name. A term cannot be inside a block. */
static bool begins_term(struct grammar *g, const struct token *name)
{
	size_t pos = g->pos;
	unsigned line = g->line;

	if (name->is_quoted || strcmp(name->text, "term") != 0)
		return false;
	/* The tokens up to the brace are scanned again later; that has no side effect. */
	bool is_term = next_token(g).type == TOKEN_WORD && next_token(g).type == '{';
	g->pos = pos;
	g->line = line;
	return is_term && !g->is_broken;
}

/* Parses the statements up to the end of the outermost block. */
static void parse_block(struct grammar *g)
{
	while (g->depth > 0 && !g->is_broken) {
		struct token name = next_token(g);
		struct open_block *block = &g->open[g->depth - 1];

		if (name.type == '}') {
			g->depth--;
		} else if (name.type == TOKEN_END) {
			if (!g->is_broken)
				close_unclosed(g);
		} else if (name.type != TOKEN_WORD) {
			syntax_error(g, &name, "an option or a block");
		} else if (!name.is_quoted && strcmp(name.text, ";") == 0) {
			complain(g, name.line, "options do not end with \";\"");
		} else if (begins_term(g, &name)) {
			close_unclosed(g);
			g->again = name;
			g->is_again = true;
		} else {
			struct statement *statement = new_statement(g, &name);
			if (!statement)
				break;
			*block->next = statement;
			block->next = &statement->next;
			parse_statement(g, statement);
		}
	}
	end_unclosed(g);
	g->depth = 0;
}

const struct statement *grammar_next(struct grammar *g)
{
	struct statement *statement = NULL;
	struct token name;

	/* A name that was pushed back is always "term". Its memory is about to be freed. */
	if (g->is_again)
		g->again.text = "term";
	pool_clear(g->memory);
	if (!g->memory && !(g->memory = pool_new()))
		out_of_memory(g);
	do {
		name = next_token(g);
		if (name.type == TOKEN_WORD && !name.is_quoted && strcmp(name.text, ";") == 0)
			complain(g, name.line, "options do not end with \";\"");
		else
			break;
	} while (!g->is_broken);
	if (g->is_broken || name.type == TOKEN_END)
		return NULL;
	if (name.type != TOKEN_WORD) {
		syntax_error(g, &name, "an option or a block");
		return NULL;
	}
	statement = new_statement(g, &name);
	if (statement)
		parse_statement(g, statement);
	if (g->depth > 0)
		parse_block(g);
	/* After a syntax error, an option or a call is incomplete; a block may have usable
	 * parts. */
	return g->is_broken && (!statement || statement->kind != STATEMENT_BLOCK) ? NULL
										  : statement;
}
