/*
 * upgrade: answers the command "upgrade". Another thread than the one that received the request
 * writes the answer; after a successful upgrade, another process does.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/command.h"
#include "control/control.h"
#include "control/json_value.h"

/* Sends a line without blocking: it fits into an empty socket buffer. */
static void put_line(int connection, const char *line)
{
	if (send(connection, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		/* The peer has hung up; the outcome is logged elsewhere. */
	}
}

void control_report_upgrade(int connection, const struct control_view *view, const char *previous)
{
	char version[BUILD_VERSION_SIZE];
	_cleanup_(json_decref_cleanup) json_t *object = json_pack(
		"{s:o, s:{s:o, s:i}, s:{s:o, s:i}}", "previous", json_value_text(previous),
		"worker", "version", json_value_text(build_version(version)), "pid", (int)getpid(),
		"keeper", "version", json_value_text(view->keeper_version), "pid",
		(int)view->keeper);
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = NULL;

	if (text && asprintf(&line, "%s\n", text) >= 0)
		put_line(connection, line);
}

void control_refuse_upgrade(int connection, const char *reason)
{
	struct err err = ERR_INIT;
	char line[2 * ERR_MSG_SIZE] = "";
	FILE *out = fmemopen(line, sizeof(line), "w");

	if (!out)
		return;
	err_set(&err, ERR_DENIED, "%s", reason);
	command_write_error(out, &err);
	fclose(out);
	put_line(connection, line);
}
