#include "rpt/ask.h"

#include <inttypes.h>
#include <libsmartcols.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "rpt/session.h"

#define GAP "  " /* between columns */

static enum ask_exit complain(enum ask_exit code, const struct err *err)
{
	fprintf(stderr, "rpt: %s\n", err->msg);
	return code;
}

/* Builds the request. "wait" and "force" are left out unless they are true. */
static int make_request(const struct ask *ask, const char *command, json_t **ret, struct err *err)
{
	_cleanup_(json_decref_cleanup) json_t *request = json_pack("{s:s}", "command", command);
	_cleanup_(json_decref_cleanup) json_t *terms = json_array();

	for (size_t i = 0; i < ask->n_terms; i++) {
		_cleanup_free_ char *name = NULL;

		if (session_term(ask->mount, ask->terms[i], &name, err) < 0)
			return -1;
		if (json_array_append_new(terms, json_string(name)) < 0)
			return err_set(err, ERR_CONFIG,
				       "\"%s\" is not a term: its name is not UTF-8",
				       ask->terms[i]);
	}
	if (!request || !terms || (ask->n_terms && json_object_set(request, "terms", terms) < 0) ||
	    (ask->wait && json_object_set_new(request, "wait", json_true()) < 0) ||
	    (ask->force && json_object_set_new(request, "force", json_true()) < 0))
		return err_set(err, ERR_INTERNAL, "request: out of memory");
	*ret = steal_ptr(&request);
	return 0;
}

/* Connects and sends the request. Prints an error. */
static enum ask_exit start(const struct ask *ask, const char *command, bool waits,
			   struct session **ret)
{
	_cleanup_(json_decref_cleanup) json_t *request = NULL;
	_cleanup_(session_free_cleanup) struct session *session = NULL;
	struct err err = ERR_INIT;

	if (make_request(ask, command, &request, &err) < 0)
		return complain(ASK_NO, &err);
	if (session_new(&session, ask->mount, &err) < 0 ||
	    session_send(session, request, waits, &err) < 0)
		return complain(ASK_TROUBLE, &err);
	*ret = steal_ptr(&session);
	return ASK_OK;
}

/* Prints one character of a JSON string as an escape. */
static void put_escaped(const char *text, size_t len)
{
	_cleanup_(json_decref_cleanup) json_t *string = json_stringn(text, len);
	_cleanup_free_ char *quoted = string ? json_dumps(string,
							  JSON_ENCODE_ANY | JSON_ENSURE_ASCII)
					     : NULL;

	if (quoted)
		fwrite(quoted + 1, 1, strlen(quoted) - 2, stdout);
}

/* Prints a line of JSON that was parsed. What a terminal might interpret is in its strings, except
 * for white space. */
static void put_json(const char *line)
{
	for (size_t len; *line; line += len) {
		len = utf8_length(line);
		if (*line == '\n' || utf8_printable(line))
			fwrite(line, 1, len, stdout);
		else if (len > 1)
			put_escaped(line, len);
		else
			fputs(*line == '\x7f' ? "\\u007f" : " ", stdout);
	}
}

/* Reads the next line of the answer; there must be one. Prints an error. */
static enum ask_exit next(const struct ask *ask, struct session *session, json_t **ret)
{
	_cleanup_free_ char *line = NULL;
	struct err err = ERR_INIT;
	enum session_result result = session_next(session, &line, ret, &err);

	if (ask->json && line)
		put_json(line);
	switch (result) {
	case SESSION_LINE:
		return ASK_OK;
	case SESSION_REFUSED:
		return complain(ASK_NO, &err);
	case SESSION_END:
		err_set(&err, ERR_UNREACHABLE, "rptfs closed the connection before it answered");
		return complain(ASK_TROUBLE, &err);
	case SESSION_FAILED:
		return complain(ASK_TROUBLE, &err);
	}
	return ASK_TROUBLE;
}

/* What a terminal might interpret becomes '?'. */
static void put_text(const char *text)
{
	for (size_t len; *text; text += len) {
		len = utf8_printable(text);
		if (len)
			fwrite(text, 1, len, stdout);
		else
			putchar('?');
		len += !len;
	}
}

/* "12s", "4m10s", "3h20m", "5d1h". */
static const char *seconds_text(int64_t ms, char ret[CLOCK_HUMAN_SIZE])
{
	int64_t s = (ms + MS_PER_S / 2) / MS_PER_S;

	if (s >= 60)
		return clock_human(s * MS_PER_S, ret);
	snprintf(ret, CLOCK_HUMAN_SIZE, "%" PRId64 "s", s);
	return ret;
}

static const char *size_text(uint64_t bytes, char ret[CLOCK_HUMAN_SIZE])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(ret, CLOCK_HUMAN_SIZE, "%" PRIu64 "B", bytes);
		return ret;
	}
	for (; value >= 1023.95 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1024;
	snprintf(ret, CLOCK_HUMAN_SIZE, "%.1f%s", value, units[unit]);
	return ret;
}

/* Reads a member of the term that holds a time; false if it is null. */
static bool time_member(const json_t *term, const char *key, int64_t *ret_ms)
{
	const char *text = json_string_value(json_object_get(term, key));
	struct tm tm = { 0 };
	const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

	if (!rest)
		return false;
	*ret_ms = (int64_t)timegm(&tm) * MS_PER_S;
	if (*rest == '.')
		*ret_ms += atoi(rest + 1);
	return true;
}

/* The cells of the table of status, for the member `key` of a term. malloc'ed; NULL if out of
 * memory. */

/* Takes NULL. */
static char *printable(char *text)
{
	if (text)
		utf8_make_printable(text);
	return text;
}

static char *text_cell(const json_t *term, const char *key, int64_t now_ms)
{
	const char *text = json_string_value(json_object_get(term, key));

	(void)now_ms;
	return printable(strdup(text ? text : "-"));
}

static char *size_cell(const json_t *term, const char *key, int64_t now_ms)
{
	const json_t *size = json_object_get(term, key);
	char human[CLOCK_HUMAN_SIZE];

	(void)now_ms;
	return strdup(json_is_integer(size) ? size_text((uint64_t)json_integer_value(size), human)
					    : "-");
}

/* "4m10s": the time since then. */
static char *age_cell(const json_t *term, const char *key, int64_t now_ms)
{
	char human[CLOCK_HUMAN_SIZE];
	int64_t then_ms;

	if (!time_member(term, key, &then_ms))
		return strdup("-");
	return strdup(seconds_text(now_ms > then_ms ? now_ms - then_ms : 0, human));
}

static char *ago_cell(const json_t *term, const char *key, int64_t now_ms)
{
	_cleanup_free_ char *age = age_cell(term, key, now_ms);
	char *cell = NULL;

	if (!age || strcmp(age, "-") == 0)
		return steal_ptr(&age);
	return asprintf(&cell, "%s ago", age) < 0 ? NULL : cell;
}

static char *next_cell(const json_t *term, const char *key, int64_t now_ms)
{
	char human[CLOCK_HUMAN_SIZE];
	int64_t then_ms;
	char *cell = NULL;

	if (!time_member(term, key, &then_ms))
		return strdup("-");
	if (then_ms <= now_ms)
		return strdup("now");
	return asprintf(&cell, "in %s", seconds_text(then_ms - now_ms, human)) < 0 ? NULL : cell;
}

/* "unreachable: GET https://…: timed out (3 failures)", or "". */
static char *error_cell(const json_t *term, const char *key, int64_t now_ms)
{
	const json_t *error = json_object_get(term, key);
	const char *kind = json_string_value(json_object_get(error, "kind"));
	const char *message = json_string_value(json_object_get(error, "message"));
	json_int_t failures = json_integer_value(json_object_get(term, "failures"));
	char *cell = NULL;

	(void)now_ms;
	if (!kind || !message)
		return strdup("");
	if (asprintf(&cell, "%s: %s (%lld failure%s)", kind, message, (long long)failures,
		     failures == 1 ? "" : "s") < 0)
		return NULL;
	return printable(cell);
}

static const struct status_column {
	const char *head;
	int flags; /* SCOLS_FL_… */
	const char *key;
	char *(*cell)(const json_t *term, const char *key, int64_t now_ms);
} status_columns[] = {
	{ "TERM", 0, "name", text_cell },
	{ "STATE", 0, "state", text_cell },
	{ "VERSION", SCOLS_FL_TRUNC, "version", text_cell }, /* cut off to fit a terminal */
	{ "SIZE", SCOLS_FL_RIGHT, "size", size_cell },
	{ "AGE", SCOLS_FL_RIGHT, "fetched_at", age_cell },
	{ "CHECKED", SCOLS_FL_RIGHT, "checked_at", ago_cell },
	{ "NEXT", SCOLS_FL_RIGHT, "next_check_at", next_cell },
	{ "ERROR", 0, "last_error", error_cell }, /* the last: left out on a terminal */
};

DEFINE_CLEANUP(struct libscols_table, scols_unref_table)

static int add_line(struct libscols_table *table, const json_t *term, size_t n_columns,
		    int64_t now_ms)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);

	if (!line)
		return -1;
	for (size_t i = 0; i < n_columns; i++) {
		char *cell = status_columns[i].cell(term, status_columns[i].key, now_ms);

		if (!cell || scols_line_refer_data(line, i, cell) != 0) {
			free(cell);
			return -1;
		}
	}
	return 0;
}

/* The table as text, a line per term after the heading. Returns NULL if out of memory. */
static char *format_status(const json_t *terms, size_t n_columns, int64_t now_ms)
{
	_cleanup_(scols_unref_table_cleanup) struct libscols_table *table = scols_new_table();
	char *text = NULL;

	/* The cells are printable, and a backslash is one of their characters. */
	if (!table || scols_table_enable_noencoding(table, 1) != 0 ||
	    scols_table_set_column_separator(table, GAP) != 0)
		return NULL;
	for (size_t i = 0; i < n_columns; i++) {
		if (!scols_table_new_column(table, status_columns[i].head, 0,
					    status_columns[i].flags))
			return NULL;
	}
	for (size_t i = 0; i < json_array_size(terms); i++) {
		if (add_line(table, json_array_get(terms, i), n_columns, now_ms) < 0)
			return NULL;
	}
	return scols_print_table_to_string(table, &text) == 0 ? text : NULL;
}

/* On a terminal an error has a line of its own below its term, for the terminal to wrap. */
static enum ask_exit print_status(const json_t *terms)
{
	bool is_terminal = isatty(STDOUT_FILENO);
	int64_t now_ms = clock_wall_ms();
	size_t n_columns = ARRAY_SIZE(status_columns) - is_terminal;
	_cleanup_free_ char *text = format_status(terms, n_columns, now_ms);
	char *line = text;

	if (!text) {
		fprintf(stderr, "rpt: status: out of memory\n");
		return ASK_TROUBLE;
	}
	for (size_t i = 0; line && *line; i++) {
		char *end = strchrnul(line, '\n'), *padding = end;
		_cleanup_free_ char *error = is_terminal && i > 0
						     ? error_cell(json_array_get(terms, i - 1),
								  "last_error", now_ms)
						     : NULL;

		while (padding > line && padding[-1] == ' ')
			padding--;
		printf("%.*s\n", (int)(padding - line), line);
		if (error && *error) {
			fputs("    ", stdout);
			fputs(error, stdout); /* printable */
			putchar('\n');
		}
		line = *end ? end + 1 : end;
	}
	return ASK_OK;
}

/* Sends a command whose answer is one line, and reads it. Prints an error. */
static enum ask_exit ask_once(const struct ask *ask, const char *command, bool waits, json_t **ret)
{
	_cleanup_(session_free_cleanup) struct session *session = NULL;

	enum ask_exit code = start(ask, command, waits, &session);
	return code == ASK_OK ? next(ask, session, ret) : code;
}

enum ask_exit ask_status(const struct ask *ask)
{
	_cleanup_(json_decref_cleanup) json_t *document = NULL;

	enum ask_exit code = ask_once(ask, "status", false, &document);
	if (code == ASK_OK && !ask->json)
		code = print_status(json_object_get(document, "terms"));
	return code;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* Prints a line about one term, and flushes it. */
static void print_outcome(const json_t *object)
{
	const char *name = text_of(object, "name");
	const char *outcome = text_of(object, "outcome");
	const char *version = text_of(object, "version");
	const char *message = text_of(json_object_get(object, "last_error"), "message");

	put_text(name ? name : "?");
	fputs(": ", stdout);
	put_text(outcome ? outcome : "?");
	if (message) {
		fputs(": ", stdout);
		put_text(message);
	} else if (version && outcome && strcmp(outcome, "updated") == 0) {
		fputs(" to ", stdout);
		put_text(version);
	}
	putchar('\n');
	fflush(stdout);
}

static bool is_success(const json_t *object)
{
	const char *outcome = text_of(object, "outcome");

	return outcome && (strcmp(outcome, "updated") == 0 || strcmp(outcome, "unchanged") == 0);
}

enum ask_exit ask_refresh(const struct ask *ask)
{
	_cleanup_(session_free_cleanup) struct session *session = NULL;
	_cleanup_(json_decref_cleanup) json_t *taken = NULL;

	enum ask_exit code = start(ask, "refresh", ask->wait, &session);
	if (code == ASK_OK)
		code = next(ask, session, &taken);
	if (code != ASK_OK)
		return code;
	json_int_t n = json_integer_value(json_object_get(taken, "requested"));
	if (!ask->wait && !ask->json)
		printf("refresh of %lld term%s requested\n", (long long)n, n == 1 ? "" : "s");

	for (json_int_t i = 0; ask->wait && i < n; i++) {
		_cleanup_(json_decref_cleanup) json_t *object = NULL;
		enum ask_exit line = next(ask, session, &object);

		if (line != ASK_OK)
			return line;
		if (!is_success(object))
			code = ASK_NO;
		if (!ask->json)
			print_outcome(object);
	}
	return code;
}

/* Prints the version that a process of the mount runs. */
static void print_process(const json_t *answer, const char *name)
{
	const json_t *process = json_object_get(answer, name);
	const char *version = text_of(process, "version");

	printf("%s: ", name);
	put_text(version ? version : "?");
	printf(", process %lld\n", (long long)json_integer_value(json_object_get(process, "pid")));
}

enum ask_exit ask_upgrade(const struct ask *ask)
{
	_cleanup_(json_decref_cleanup) json_t *answer = NULL;

	enum ask_exit code = ask_once(ask, "upgrade", true, &answer);
	if (code != ASK_OK || ask->json)
		return code;
	const char *previous = text_of(answer, "previous");
	fputs("upgraded from ", stdout);
	put_text(previous ? previous : "?");
	putchar('\n');
	print_process(answer, "worker");
	print_process(answer, "keeper");
	return code;
}
