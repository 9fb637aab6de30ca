#include "control/status.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/process_id.h"
#include "control/json_value.h"

static json_t *time_json(int64_t wall_ms)
{
	char text[CLOCK_RFC3339_SIZE];

	return wall_ms == TERM_NO_TIME ? json_null() : json_string(clock_rfc3339(wall_ms, text));
}

static json_t *error_json(const struct term_status *status)
{
	if (status->error_kind == ERR_NONE)
		return json_null();
	return json_value_error(status->error_kind, status->last_error);
}

/* Adds the snapshot's members to the term's object; all are null without one. */
static int add_snapshot(json_t *object, const struct snapshot *snapshot)
{
	char hex[DIGEST_HEX_SIZE];
	_cleanup_(json_decref_cleanup) json_t *part = NULL;

	if (snapshot)
		part = json_pack("{s:o, s:o, s:s, s:I, s:I, s:o, s:o, s:o}", "version",
				 json_value_text(snapshot->version), "source",
				 json_value_text(snapshot->source), "sha256",
				 digest_hex(snapshot->sha256, hex), "size",
				 (json_int_t)snapshot->size_bytes, "id", (json_int_t)snapshot->id,
				 "mtime", time_json(clock_to_ms(snapshot->mtime)), "fetched_at",
				 time_json(snapshot->fetched_at_ms), "published_at",
				 time_json(snapshot->published_at_ms));
	else
		part = json_pack("{s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n}", "version", "source",
				 "sha256", "size", "id", "mtime", "fetched_at", "published_at");
	return part ? json_object_update(object, part) : -1;
}

static int add_status(json_t *object, const struct term_status *status)
{
	_cleanup_(json_decref_cleanup) json_t *part = json_pack(
		"{s:o, s:o, s:o, s:o, s:i, s:o, s:I, s:I, s:I}", "source_version",
		json_value_text(status->source_version), "checked_at",
		time_json(status->checked_at_ms), "confirmed_at",
		time_json(status->confirmed_at_ms), "next_check_at",
		time_json(status->next_check_at_ms), "failures", (int)status->failures,
		"last_error", error_json(status), "updated_total",
		(json_int_t)status->updated_total, "unchanged_total",
		(json_int_t)status->unchanged_total, "failed_total",
		(json_int_t)status->failed_total);

	return part ? json_object_update(object, part) : -1;
}

static int write_term(FILE *out, struct term *term, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *snapshot = term_current(term);
	_cleanup_(term_status_release) struct term_status status;

	term_status(term, &status);
	_cleanup_(json_decref_cleanup) json_t *object = json_pack(
		"{s:o, s:o, s:s}", "name", json_value_text(term->config->name), "alias",
		json_value_text(term_alias(term)), "state", term_state_name(status.state));
	if (!object || add_snapshot(object, snapshot) < 0 || add_status(object, &status) < 0)
		return err_set(err, ERR_INTERNAL, "status: out of memory");
	json_dumpf(object, out, JSON_COMPACT);
	return 0;
}

static void add_request_count(void *arg, const char *op, uint64_t count)
{
	json_object_set_new(arg, op, json_integer((json_int_t)count));
}

static int write_head(FILE *out, const struct control_view *view, struct err *err)
{
	char version[BUILD_VERSION_SIZE];
	_cleanup_(json_decref_cleanup) json_t *head = json_pack(
		"{s:s, s:o, s:i, s:o, s:i, s:{s:s, s:i}, s:{}}", "rptfs_version",
		build_version(version), "mountpoint", json_value_text(view->mountpoint), "pid",
		(int)process_id(), "started_at", time_json(view->started_at_ms), "restarts",
		(int)view->restarts, "keeper", "version", view->keeper_version, "pid",
		(int)view->keeper, "fuse_requests");

	if (!head)
		return err_set(err, ERR_INTERNAL, "status: out of memory");
	fs_request_counts(view->fs, add_request_count, json_object_get(head, "fuse_requests"));
	json_dumpf(head, out, JSON_COMPACT | JSON_EMBED);
	return 0;
}

int status_write(FILE *out, const struct control_view *view,
		 const struct status_selection *selection, const char *separator, struct err *err)
{
	size_t n_written = 0;

	putc('{', out);
	if (write_head(out, view, err) < 0)
		return -1;
	fputs(",\"terms\":[", out);
	for (size_t i = 0; i < selection->n && !ferror(out); i++) {
		struct term *term = &view->terms[selection->indexes ? selection->indexes[i] : i];

		if (!term_rights_include(view->rights, selection->access, term))
			continue;
		if (n_written++ > 0)
			fputs(separator, out);
		if (write_term(out, term, err) < 0)
			return -1;
	}
	fputs("]}\n", out);
	return 0;
}

int status_render(const struct control_view *view, const struct term_access *access, char **ret,
		  size_t *ret_len, struct err *err)
{
	const struct status_selection all = { .access = access, .n = view->n_terms };
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return err_errno(err, "status");
	int rendered = status_write(out, view, &all, ",\n", err);
	int closed = fclose(out);
	if (rendered < 0)
		return -1;
	if (closed != 0)
		return err_errno(err, "status");
	*ret = steal_ptr(&text);
	*ret_len = len;
	return 0;
}
