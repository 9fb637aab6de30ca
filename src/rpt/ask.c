#include "rpt/ask.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "rpt/session.h"
#include "rpt/table.h"

static enum ask_exit complain(enum ask_exit code, const struct err *err)
{
	fprintf(stderr, "rpt: %s\n", err->msg);
	return code;
}

/* The request as JSON. A command that does not wait leaves "wait" out. */
static int make_request(const struct ask *ask, const char *command, json_t **ret, struct err *err)
{
	_cleanup_(json_decref_cleanup) json_t *request = json_pack("{s:s}", "command", command);
	_cleanup_(json_decref_cleanup) json_t *terms = json_array();

	for (size_t i = 0; i < ask->n_terms; i++) {
		_cleanup_free_ char *name = NULL;

		if (session_term(ask->mount, ask->terms[i], &name, err) < 0)
			return -1;
		if (json_array_append_new(terms, json_string(name)) < 0)
			return err_set(err, ERR_CONFIG, "\"%s\" is no name of a term: not UTF-8",
				       ask->terms[i]);
	}
	if (!request || !terms || (ask->n_terms && json_object_set(request, "terms", terms) < 0) ||
	    (ask->wait && json_object_set_new(request, "wait", json_true()) < 0))
		return err_set(err, ERR_INTERNAL, "request: out of memory");
	*ret = steal_ptr(&request);
	return 0;
}

/* Says what is wrong, if anything is. */
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

/* The next line of an answer that is not over yet. Says what is wrong, if anything is. */
static enum ask_exit next(const struct ask *ask, struct session *session, json_t **ret)
{
	_cleanup_free_ char *line = NULL;
	struct err err = ERR_INIT;
	enum session_result result = session_next(session, &line, ret, &err);

	if (ask->json && line)
		fputs(line, stdout);
	switch (result) {
	case SESSION_LINE:
		return ASK_OK;
	case SESSION_REFUSED:
		return complain(ASK_NO, &err);
	case SESSION_END:
		err_set(&err, ERR_UNREACHABLE, "rptfs ended before it had answered");
		return complain(ASK_TROUBLE, &err);
	case SESSION_FAILED:
		return complain(ASK_TROUBLE, &err);
	}
	return ASK_TROUBLE;
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

/* A member of the term that holds a time; false if it is null. */
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

/* Time since then (or until then), in words. */
static char *since_cell(const json_t *term, const char *key, int64_t now_ms, const char *suffix)
{
	char human[CLOCK_HUMAN_SIZE];
	int64_t then_ms;
	char *cell = NULL;

	if (!time_member(term, key, &then_ms))
		return strdup("-");
	int64_t ms = now_ms > then_ms ? now_ms - then_ms : 0;
	if (asprintf(&cell, "%s%s", seconds_text(ms, human), suffix) < 0)
		return NULL;
	return cell;
}

static char *next_cell(const json_t *term, int64_t now_ms)
{
	char human[CLOCK_HUMAN_SIZE];
	int64_t then_ms;
	char *cell = NULL;

	if (!time_member(term, "next_check_at", &then_ms))
		return strdup("-");
	if (then_ms <= now_ms)
		return strdup("now");
	if (asprintf(&cell, "in %s", seconds_text(then_ms - now_ms, human)) < 0)
		return NULL;
	return cell;
}

static char *text_cell(const json_t *term, const char *key)
{
	const char *text = json_string_value(json_object_get(term, key));

	return strdup(text ? text : "-");
}

static char *size_cell(const json_t *term)
{
	const json_t *size = json_object_get(term, "size");
	char human[CLOCK_HUMAN_SIZE];

	return strdup(json_is_integer(size) ? size_text((uint64_t)json_integer_value(size), human)
					    : "-");
}

/* "unreachable: GET https://…: timed out (3 failures)", or nothing. */
static char *error_cell(const json_t *term)
{
	const json_t *error = json_object_get(term, "last_error");
	const char *kind = json_string_value(json_object_get(error, "kind"));
	const char *message = json_string_value(json_object_get(error, "message"));
	json_int_t failures = json_integer_value(json_object_get(term, "failures"));
	char *cell = NULL;

	if (!kind || !message)
		return strdup("");
	if (asprintf(&cell, "%s: %s (%lld failure%s)", kind, message, (long long)failures,
		     failures == 1 ? "" : "s") < 0)
		return NULL;
	return cell;
}

static const struct table_column status_columns[] = {
	{ .head = "TERM", .min_width = 12 },
	{ .head = "STATE" },
	{ .head = "VERSION", .max_width = 24, .min_width = 8 },
	{ .head = "SIZE", .right = true },
	{ .head = "AGE", .right = true },
	{ .head = "CHECKED", .right = true },
	{ .head = "NEXT", .right = true },
	{ .head = "ERROR" },
};

#define STATUS_COLUMNS ARRAY_SIZE(status_columns)

static void fill_row(char **row, const json_t *term, int64_t now_ms)
{
	row[0] = text_cell(term, "name");
	row[1] = text_cell(term, "state");
	row[2] = text_cell(term, "version");
	row[3] = size_cell(term);
	row[4] = since_cell(term, "fetched_at", now_ms, "");
	row[5] = since_cell(term, "checked_at", now_ms, " ago");
	row[6] = next_cell(term, now_ms);
	row[7] = error_cell(term);
}

static void print_status(const json_t *terms)
{
	size_t n = json_array_size(terms);
	int64_t now_ms = clock_wall_ms();
	_cleanup_free_ char **cells = calloc(n * STATUS_COLUMNS + 1, sizeof(*cells));

	if (!cells)
		return;
	for (size_t i = 0; i < n; i++)
		fill_row(cells + i * STATUS_COLUMNS, json_array_get(terms, i), now_ms);
	table_print(stdout, status_columns, STATUS_COLUMNS, (const char *const *)cells, n,
		    table_terminal_width(stdout));
	for (size_t i = 0; i < n * STATUS_COLUMNS; i++)
		free(cells[i]);
}

enum ask_exit ask_status(const struct ask *ask)
{
	_cleanup_(session_free_cleanup) struct session *session = NULL;
	_cleanup_(json_decref_cleanup) json_t *document = NULL;

	enum ask_exit code = start(ask, "status", false, &session);
	if (code == ASK_OK)
		code = next(ask, session, &document);
	if (code == ASK_OK && !ask->json)
		print_status(json_object_get(document, "terms"));
	return code;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* One line about one term, at once. */
static void print_outcome(const json_t *object)
{
	const char *name = text_of(object, "name");
	const char *outcome = text_of(object, "outcome");
	const char *version = text_of(object, "version");
	const char *message = text_of(json_object_get(object, "last_error"), "message");

	printf("%s: %s", name ? name : "?", outcome ? outcome : "?");
	if (message) {
		fputs(": ", stdout);
		table_put(stdout, message);
	} else if (version && outcome && strcmp(outcome, "updated") == 0) {
		fputs(" to ", stdout);
		table_put(stdout, version);
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

/* What a process of the mount runs. */
static void print_process(const json_t *answer, const char *name)
{
	const json_t *process = json_object_get(answer, name);
	const char *version = text_of(process, "version");

	printf("%s: ", name);
	table_put(stdout, version ? version : "?");
	printf(", process %lld\n", (long long)json_integer_value(json_object_get(process, "pid")));
}

enum ask_exit ask_upgrade(const struct ask *ask)
{
	_cleanup_(session_free_cleanup) struct session *session = NULL;
	_cleanup_(json_decref_cleanup) json_t *answer = NULL;

	enum ask_exit code = start(ask, "upgrade", true, &session);
	if (code == ASK_OK)
		code = next(ask, session, &answer);
	if (code != ASK_OK || ask->json)
		return code;
	const char *previous = text_of(answer, "previous");
	fputs("upgraded from ", stdout);
	table_put(stdout, previous ? previous : "?");
	putchar('\n');
	print_process(answer, "worker");
	print_process(answer, "keeper");
	return code;
}
