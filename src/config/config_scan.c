#include "config/config_scan.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

#include "base/util.h"

#define FILE_MAX_BYTES ((size_t)256 << 20)

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

int scanner_open(struct scanner *scanner, const char *path, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_errno(err, "cannot open it");
	if (read_all(fd, &scanner->data, &scanner->len, err) < 0)
		return -1;
	scanner->line = 1;
	if (strncmp(scanner->data, "\xef\xbb\xbf", 3) == 0) {
		scanner->pos = 3;
		scanner_blank(scanner, 0);
	}
	return 0;
}

void scanner_release(struct scanner *scanner)
{
	free(scanner->data);
	scanner->data = NULL;
}

void scanner_blank(struct scanner *scanner, size_t start)
{
	for (size_t i = start; i < scanner->pos; i++) {
		if (scanner->data[i] != '\n')
			scanner->data[i] = ' ';
	}
}

static void complain(struct scanner *s, unsigned line, const char *text)
{
	problem_add(s->problems, (struct place){ s->file, line }, NULL, "%s", text);
}

/* After this there are no more tokens. */
static void give_up(struct scanner *s, unsigned line, const char *text)
{
	complain(s, line, text);
	s->is_broken = true;
	s->pos = s->len;
}

static void skip_line_comment(struct scanner *s)
{
	size_t start = s->pos;

	while (s->pos < s->len && s->data[s->pos] != '\n')
		s->pos++;
	scanner_blank(s, start);
}

static void skip_block_comment(struct scanner *s)
{
	size_t start = s->pos;
	unsigned line = s->line;

	for (s->pos += 2; s->pos < s->len; s->pos++) {
		if (s->data[s->pos] == '\n')
			s->line++;
		if (s->data[s->pos] == '*' && s->data[s->pos + 1] == '/') {
			s->pos += 2;
			scanner_blank(s, start);
			return;
		}
	}
	s->len = start;
	give_up(s, line, "the comment that begins here has no end");
}

/*
 * At "${": ${NAME} or ${NAME:-DEFAULT}. libconfuse puts in the variable's value; what it would
 * silently make of an unset variable, or of anything else, is refused.
 */
static void scan_variable(struct scanner *s, char quote)
{
	char *name = s->data + s->pos + 2;
	size_t len = 0;

	while (isalnum((unsigned char)name[len]) || name[len] == '_')
		len++;
	bool has_default = name[len] == ':' && name[len + 1] == '-';
	size_t total = len + strcspn(name + len, quote ? "}\"\n" : "}\n");
	if (len == 0 || isdigit((unsigned char)*name) || name[total] != '}' ||
	    (total > len && !has_default)) {
		give_up(s, s->line,
			"\"${\" begins a variable, ${NAME} or ${NAME:-DEFAULT}; "
			"for the characters themselves write \"\\${\"");
		return;
	}
	char after = name[len];
	name[len] = '\0';
	if (!has_default && !getenv(name))
		problem_add(s->problems, (struct place){ s->file, s->line }, NULL,
			    "the environment variable %.64s is not set; ${%.64s:-} would be empty",
			    name, name);
	name[len] = after;
	s->pos += 2 + total + 1;
}

/* At the backslash in a double-quoted string. */
static void scan_escape(struct scanner *s)
{
	const char *escape = s->data + s->pos + 1;
	size_t len = 1;
	unsigned code = 1;

	if (*escape == 'x' && isxdigit((unsigned char)escape[1])) {
		len = isxdigit((unsigned char)escape[2]) ? 3 : 2;
		code = (unsigned)strtoul((char[]){ escape[1], len == 3 ? escape[2] : '\0', '\0' },
					 NULL, 16);
	} else if (isdigit((unsigned char)*escape)) {
		len = strspn(escape, "0123456789");
		if (len > 3 || strspn(escape, "01234567") < len) {
			give_up(s, s->line, "a \"\\\" is followed by one to three octal digits");
			return;
		}
		code = 0;
		for (size_t i = 0; i < len; i++)
			code = code * 8 + (unsigned)(escape[i] - '0');
	} else if (*escape == '\n') {
		s->line++;
	} else if (*escape == '\0') {
		len = 0; /* the end, or a NUL byte: the caller sees which */
	}
	if (code == 0 || code > 0xff) {
		give_up(s, s->line,
			code ? "an octal number above \\377"
			     : "a string cannot have a NUL byte in it");
		return;
	}
	s->pos += 1 + len;
}

static void scan_string(struct scanner *s, char quote)
{
	unsigned line = s->line;

	for (s->pos++; s->pos < s->len && s->data[s->pos] != quote;) {
		const char *p = s->data + s->pos;
		if (*p == '\0') {
			give_up(s, s->line, "there is a NUL byte here");
		} else if (*p == '\n') {
			s->line++;
			s->pos++;
		} else if (*p == '\\' && quote == '"') {
			scan_escape(s);
		} else if (*p == '\\') {
			s->line += p[1] == '\n';
			s->pos += p[1] ? 2 : 1;
		} else if (*p == '$' && p[1] == '{' && quote == '"') {
			scan_variable(s, quote);
		} else {
			s->pos++;
		}
	}
	if (s->is_broken)
		return;
	if (s->pos >= s->len)
		give_up(s, line, "the string that begins here has no end");
	else
		s->pos++;
}

/* What is not in libconfuse's list of characters that end an unquoted word. */
static bool is_word(char c)
{
	return ((unsigned char)c > ' ' && c != 0x7f && !strchr("#\"'={}()+,*", c));
}

static void scan_word(struct scanner *s)
{
	while (s->pos < s->len && is_word(s->data[s->pos])) {
		if (s->data[s->pos] == '$' && s->data[s->pos + 1] == '{') {
			give_up(s, s->line, "put a text with a ${VARIABLE} in it in double quotes");
			return;
		}
		s->pos++;
	}
}

/* Moves past blanks and comments. */
static void skip_blanks(struct scanner *s)
{
	while (s->pos < s->len) {
		char c = s->data[s->pos], next = s->data[s->pos + 1];
		if (c == '\n') {
			s->line++;
			s->pos++;
		} else if (c == ' ' || c == '\t') {
			s->pos++;
		} else if (c == '\r') {
			s->data[s->pos++] = ' ';
		} else if (c == '#' || (c == '/' && next == '/')) {
			skip_line_comment(s);
		} else if (c == '/' && next == '*') {
			skip_block_comment(s);
		} else {
			return;
		}
	}
}

static void scan_stray(struct scanner *s)
{
	unsigned char c = (unsigned char)s->data[s->pos];
	size_t start = s->pos++;
	char text[64];

	if (c > ' ' && c < 0x7f)
		snprintf(text, sizeof(text), "unexpected \"%c\"", c);
	else
		snprintf(text, sizeof(text), "unexpected byte 0x%02x", c);
	complain(s, s->line, text);
	scanner_blank(s, start);
}

struct token scanner_next(struct scanner *s)
{
	for (skip_blanks(s); s->pos < s->len; skip_blanks(s)) {
		struct token token = { .start = s->pos, .line = s->line };
		char c = s->data[s->pos], next = s->data[s->pos + 1];

		if (c && strchr("{}()=,", c)) {
			token.type = c;
			s->pos++;
		} else if (c == '+' && next == '=') {
			token.type = c;
			s->pos += 2;
		} else if (c == '"' || c == '\'') {
			token.type = TOKEN_WORD;
			scan_string(s, c);
		} else if (c == '$' && next == '{') {
			token.type = TOKEN_WORD;
			scan_variable(s, '\0');
		} else if (is_word(c)) {
			token.type = TOKEN_WORD;
			scan_word(s);
		} else {
			scan_stray(s);
			continue;
		}
		if (s->is_broken) {
			s->len = s->pos = token.start;
			break;
		}
		token.end = s->pos;
		return token;
	}
	return (struct token){ .type = TOKEN_END, .start = s->len, .end = s->len, .line = s->line };
}

const char *scanner_text(const struct scanner *s, const struct token *token, char *ret, size_t size)
{
	size_t start = token->start, end = token->end;

	if (end - start >= 2 && (s->data[start] == '"' || s->data[start] == '\'')) {
		start++;
		end--;
	}
	size_t len = end - start < size ? end - start : size - 1;
	memcpy(ret, s->data + start, len);
	ret[len] = '\0';
	return ret;
}
