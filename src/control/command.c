#include "control/command.h"

#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "control/status.h"
#include "control/json_value.h"

/* How often a command that waits checks whether its client has hung up. */
#define HANGUP_CHECK_MS 250

struct command {
	const char *name;
	bool needs_owner;
	int (*run)(const struct exchange *exchange, json_t *request, struct err *err);
};

/* The terms of a request, by their index. */
struct selection {
	size_t *indexes; /* owned */
	size_t n;
};

static void selection_release(struct selection *selection)
{
	free(selection->indexes);
}

/* names: a JSON array of strings, or NULL for all. */
static int select_terms(const struct exchange *exchange, const json_t *names, struct selection *ret,
			struct err *err)
{
	if (names && !json_is_array(names))
		return err_set(err, ERR_BAD_DATA, "\"terms\" must be an array of strings");

	size_t n = names ? json_array_size(names) : exchange->view->n_terms;
	_cleanup_free_ size_t *indexes = calloc(n + 1, sizeof(*indexes));
	if (!indexes)
		return err_errno(err, "selection of terms");
	for (size_t i = 0; i < n; i++) {
		const char *name = names ? json_string_value(json_array_get(names, i)) : NULL;

		if (!names)
			indexes[i] = i;
		else if (!name)
			return err_set(err, ERR_BAD_DATA, "\"terms\" must be an array of strings");
		else if (term_index_find(exchange->index, &exchange->access, name, &indexes[i],
					 err) < 0)
			return -1;
	}
	*ret = (struct selection){ .indexes = steal_ptr(&indexes), .n = n };
	return 0;
}

static int run_status(const struct exchange *exchange, json_t *request, struct err *err)
{
	_cleanup_(selection_release) struct selection selected = { 0 };
	json_t *names = NULL;
	json_error_t problem;
	const char *command;

	if (json_unpack_ex(request, &problem, JSON_STRICT, "{s:s, s?o}", "command", &command,
			   "terms", &names) < 0)
		return err_set(err, ERR_BAD_DATA, "status: %s", problem.text);
	if (select_terms(exchange, names, &selected, err) < 0)
		return -1;
	const struct status_selection selection = {
		.access = &exchange->access,
		.indexes = selected.indexes,
		.n = selected.n,
	};
	return status_write(exchange->conn->out, exchange->view, &selection, ",", err);
}

/* Waits for the end of one update. Gives up if the client hangs up. */
static int wait_for_outcome(const struct exchange *exchange, size_t term, uint64_t ticket,
			    enum update_outcome *ret, struct err *err)
{
	while (!refresher_wait(exchange->view->refresher, term, ticket,
			       clock_boot_ms() + HANGUP_CHECK_MS, ret)) {
		if (conn_is_gone(exchange->conn))
			return err_set(err, ERR_CANCELED, "the client has hung up");
	}
	if (*ret == UPDATE_CANCELED)
		return err_set(err, ERR_CANCELED, "rptfs is being stopped");
	return 0;
}

static int write_outcome(const struct exchange *exchange, struct term *term,
			 enum update_outcome outcome, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *snapshot = term_current(term);
	_cleanup_(term_status_release) struct term_status status;
	json_t *error = NULL;

	term_status(term, &status);
	if (outcome == UPDATE_FAILED)
		error = json_value_error(status.error_kind, status.last_error);
	else
		error = json_null();
	_cleanup_(json_decref_cleanup) json_t *object = json_pack(
		"{s:o, s:s, s:o, s:o}", "name", json_value_text(term->config->name), "outcome",
		update_outcome_name(outcome), "version",
		json_value_text(snapshot ? snapshot->version : NULL), "last_error", error);
	if (!object)
		return err_set(err, ERR_INTERNAL, "refresh: out of memory");
	json_dumpf(object, exchange->conn->out, JSON_COMPACT);
	putc('\n', exchange->conn->out);
	return conn_flush(exchange->conn, err);
}

static int run_refresh(const struct exchange *exchange, json_t *request, struct err *err)
{
	const struct control_view *view = exchange->view;
	_cleanup_(selection_release) struct selection selected = { 0 };
	json_t *names = NULL;
	json_error_t problem;
	const char *command;
	int wait = 0, force = 0;

	if (json_unpack_ex(request, &problem, JSON_STRICT, "{s:s, s?o, s?b, s?b}", "command",
			   &command, "terms", &names, "wait", &wait, "force", &force) < 0)
		return err_set(err, ERR_BAD_DATA, "refresh: %s", problem.text);
	if (select_terms(exchange, names, &selected, err) < 0)
		return -1;
	_cleanup_free_ uint64_t *tickets = calloc(selected.n + 1, sizeof(*tickets));
	if (!tickets)
		return err_errno(err, "refresh");

	for (size_t i = 0; i < selected.n; i++)
		tickets[i] = force ? refresher_force(view->refresher, selected.indexes[i])
				   : refresher_request(view->refresher, selected.indexes[i]);
	fprintf(exchange->conn->out, "{\"requested\":%zu}\n", selected.n);
	if (conn_flush(exchange->conn, err) < 0)
		return -1;
	for (size_t i = 0; wait && i < selected.n; i++) {
		enum update_outcome outcome;
		size_t term = selected.indexes[i];

		if (wait_for_outcome(exchange, term, tickets[i], &outcome, err) < 0 ||
		    write_outcome(exchange, &view->terms[term], outcome, err) < 0)
			return -1;
	}
	return 0;
}

/* The next worker answers: it gets the connection. */
static int run_upgrade(const struct exchange *exchange, json_t *request, struct err *err)
{
	json_error_t problem;
	const char *command;

	if (json_unpack_ex(request, &problem, JSON_STRICT, "{s:s}", "command", &command) < 0)
		return err_set(err, ERR_BAD_DATA, "upgrade: %s", problem.text);
	_cleanup_close_ int connection = fcntl(exchange->conn->fd, F_DUPFD_CLOEXEC, 0);
	if (connection < 0)
		return err_errno(err, "upgrade");
	if (exchange->view->upgrade(exchange->view->upgrade_arg, connection, err) < 0)
		return -1;
	steal_fd(&connection);
	return 0;
}

static const struct command commands[] = {
	{ "status", false, run_status },
	{ "refresh", true, run_refresh },
	{ "upgrade", true, run_upgrade },
};

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

int command_run(const struct exchange *exchange, const char *line, size_t len, struct err *err)
{
	json_error_t problem;
	_cleanup_(json_decref_cleanup)
		json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &problem);

	if (!request)
		return err_set(err, ERR_BAD_DATA, "request: %s", problem.text);
	const char *name = json_string_value(json_object_get(request, "command"));
	if (!name)
		return err_set(err, ERR_BAD_DATA, "request: no \"command\"");
	const struct command *command = command_find(name);
	if (!command)
		return err_set(err, ERR_NOT_FOUND, "there is no command \"%s\"", name);
	if (command->needs_owner && !term_rights_is_owner(exchange->view->rights, exchange->peer))
		return err_set(err, ERR_DENIED,
			       "%s: only root and the owner of the mount (uid %u) may do this, "
			       "not uid %u",
			       name, term_rights_owner(exchange->view->rights), exchange->peer);
	return command->run(exchange, request, err);
}

void command_write_error(FILE *out, const struct err *err)
{
	_cleanup_(json_decref_cleanup)
		json_t *object = json_pack("{s:o}", "error", json_value_error(err->kind, err->msg));

	if (!object)
		return;
	json_dumpf(object, out, JSON_COMPACT);
	putc('\n', out);
}
