/*
 * grammar: the text of one configuration file, as statements.
 *
 *	file      = { statement } .
 *	statement = NAME ( "=" | "+=" ) value		an option
 *	          | NAME [ TITLE ] "{" { statement } "}"	a block
 *	          | NAME "(" [ WORD { "," WORD } ] ")" .	a call
 *	value     = WORD | "{" [ WORD { "," WORD } [ "," ] ] "}" .
 *
 * A WORD is bare, in single quotes, in double quotes, or ${NAME} alone. In double quotes, ${NAME}
 * and ${NAME:-DEFAULT} stand for environment variables, and "\" begins an escape of C, or removes
 * the end of the line. In single quotes, "\" is special before "'", "\" and the end of the line
 * only. Comments begin with "#" or "//" and end with the line, or are between "/" "*" and "*" "/".
 *
 * The grammar does not depend on the options and kinds of blocks that exist, with one exception: a
 * block with a title cannot be inside another block, so the parser can report where a "}" is
 * missing. Everything that cannot be parsed is reported as a problem. After a syntax error, the
 * rest of the file is not parsed.
 */
#ifndef CONFIG_GRAMMAR_H
#define CONFIG_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "config/problems.h"

enum statement_kind {
	STATEMENT_BROKEN, /* it has a syntax error */
	STATEMENT_OPTION,
	STATEMENT_BLOCK,
	STATEMENT_CALL,
};

/* Texts are without quotes, and with escapes and variables replaced. */
struct statement {
	enum statement_kind kind;
	unsigned line;
	const char *name;
	const char *title;  /* of a block; NULL: none */
	const char **texts; /* of an option, its values; of a call, its arguments */
	size_t n_texts;
	bool is_list;		 /* the value is in braces */
	bool is_appended;	 /* "+=" */
	bool is_incomplete;	 /* a syntax error or a missing "}" ended the block */
	struct statement *first; /* in the block, or NULL */
	struct statement *next;	 /* in the same block, or NULL */
};

struct grammar;

/* Reads the whole file, which may be a pipe. */
int grammar_read(struct grammar **ret, int fd, struct err *err);
void grammar_free(struct grammar *grammar);

/* Call it before grammar_next(). file: the number of the file in `problems`, which is borrowed. */
void grammar_report_to(struct grammar *grammar, struct problems *problems, unsigned file);

/* The next statement at the top of the file, or NULL. It lives until the next call. */
const struct statement *grammar_next(struct grammar *grammar);

#endif
