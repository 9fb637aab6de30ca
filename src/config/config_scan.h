/*
 * config_scan: a configuration file as text, and its tokens.
 *
 * libconfuse 3.3 parses our files, but its scanner counts lines wrongly where there are comments,
 * takes none inside of a value, and drops what it does not know without a word. So the text is
 * looked through first, by the same rules: comments become blanks, and what cannot stand in a
 * file, or would be dropped, is a problem with its line.
 */
#ifndef CONFIG_CONFIG_SCAN_H
#define CONFIG_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "config/config_problem.h"

/* The other tokens are '{' '}' '(' ')' '=' ',' and, for "+=", '+'. */
enum { TOKEN_END, TOKEN_WORD = 256 };

struct token {
	int type;
	size_t start; /* of its bytes in the text, quotes included */
	size_t end;
	unsigned line; /* where it begins */
};

struct scanner {
	char *data; /* owned; NUL-terminated; changed while it is scanned */
	size_t len;
	size_t pos;
	unsigned line;
	unsigned file;
	struct problems *problems;
	bool is_broken; /* nothing can be said of what follows; the problem is noted */
};

/* Reads the whole file, which may be a pipe. */
int scanner_open(struct scanner *scanner, const char *path, struct err *err);
void scanner_release(struct scanner *scanner);

/* The next token; TOKEN_END at the end, and when the text cannot be followed any further. */
struct token scanner_next(struct scanner *scanner);

/* The token's text without quotes, cut off to fit. Returns ret. */
const char *scanner_text(const struct scanner *scanner, const struct token *token, char *ret,
			 size_t size);

/* Makes the bytes from start to the scanner's position blank, but for the ends of lines. */
void scanner_blank(struct scanner *scanner, size_t start);

#endif
