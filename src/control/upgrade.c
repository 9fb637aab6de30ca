/*
 * upgrade: answers the command "upgrade". Another thread than the one that received the request
 * writes the answer; after a successful upgrade, another process does.
 */
#include "base/process_id.h"
#include "control/conn.h"
#include "control/control.h"
#include "control/json_value.h"

void control_report_upgrade(int connection, const struct control_view *view, const char *previous)
{
	char version[BUILD_VERSION_SIZE];
	_cleanup_(json_decref_cleanup) json_t *object = json_pack(
		"{s:o, s:{s:o, s:i}, s:{s:o, s:i}}", "previous", json_value_text(previous),
		"worker", "version", json_value_text(build_version(version)), "pid",
		(int)process_id(), "keeper", "version", json_value_text(view->keeper_version),
		"pid", (int)view->keeper);
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = NULL;

	if (text && asprintf(&line, "%s\n", text) >= 0)
		conn_send_line(connection, line);
}
