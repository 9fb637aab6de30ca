/*
 * metrics: the facts of status.c for Prometheus, text format 0.0.4.
 *
 * The label "term" is the alias. rptfs_term_age_seconds counts from the fetch of the served bytes.
 * rptfs_term_checked_seconds counts from the end of the last update, successful or not;
 * rptfs_term_confirmed_seconds, like max_stale, from the last successful one.
 *
 * The format requires all samples of a family in one group. So one pass over the terms stores their
 * numbers, and one more per family writes them.
 */
#include <inttypes.h>
#include <stdbool.h>

#include "base/clock.h"
#include "control/control.h"
#include "control/json_value.h"

enum age { AGE_FETCHED, AGE_CHECKED, AGE_CONFIRMED, N_AGES };

static const struct {
	const char *name;
	const char *help;
} ages[N_AGES] = {
	[AGE_FETCHED] = { "rptfs_term_age_seconds", "Time since the served bytes were fetched." },
	[AGE_CHECKED] = { "rptfs_term_checked_seconds",
			  "Time since the last update ended, whatever its outcome." },
	[AGE_CONFIRMED] = { "rptfs_term_confirmed_seconds",
			    "Time since the last successful update." },
};

/* The numbers of one term. */
struct sample {
	const char *alias;
	bool has_snapshot;
	uint64_t size_bytes;
	int64_t since_ms[N_AGES]; /* wall clock; TERM_NO_TIME: never */
	unsigned failures;
	uint64_t updated, unchanged, failed;
};

struct samples {
	FILE *out;
	int64_t now_ms;
	const struct sample *of; /* n of them */
	size_t n;
};

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Writes NAME="VALUE". Backslash, quote and newline are escaped; the value becomes valid UTF-8. */
static void label(FILE *out, const char *name, const char *value)
{
	_cleanup_(json_decref_cleanup) json_t *string = json_value_text(value);

	fprintf(out, "%s=\"", name);
	for (const char *c = string ? json_string_value(string) : ""; *c; c++) {
		if (*c == '\\' || *c == '"')
			fprintf(out, "\\%c", *c);
		else if (*c == '\n')
			fputs("\\n", out);
		else
			putc(*c, out);
	}
	putc('"', out);
}

static void single(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	family(out, name, type, help);
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}

/* Writes NAME{term="ALIAS"} and a space; the caller writes the value. */
static void start(FILE *out, const char *name, const struct sample *sample)
{
	fprintf(out, "%s{", name);
	label(out, "term", sample->alias);
	fputs("} ", out);
}

static void put_seconds(FILE *out, int64_t ms)
{
	/* The wall clock may have been set back. */
	if (ms < 0)
		ms = 0;
	fprintf(out, "%" PRId64 ".%03d\n", ms / MS_PER_S, (int)(ms % MS_PER_S));
}

/* First pass: writes the info of one term and keeps its numbers. */
static void write_info(FILE *out, struct term *term, struct sample *ret)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *snapshot = term_current(term);
	_cleanup_(term_status_release) struct term_status status;

	term_status(term, &status);
	*ret = (struct sample){
		.alias = term_alias(term),
		.has_snapshot = snapshot != NULL,
		.size_bytes = snapshot ? snapshot->size_bytes : 0,
		.since_ms = {
			[AGE_FETCHED] = snapshot ? snapshot->fetched_at_ms : TERM_NO_TIME,
			[AGE_CHECKED] = status.checked_at_ms,
			[AGE_CONFIRMED] = status.confirmed_at_ms,
		},
		.failures = status.failures,
		.updated = status.updated_total,
		.unchanged = status.unchanged_total,
		.failed = status.failed_total,
	};
	fputs("rptfs_term_info{", out);
	label(out, "term", ret->alias);
	putc(',', out);
	label(out, "version", snapshot ? snapshot->version : "");
	putc(',', out);
	label(out, "state", term_state_name(status.state));
	putc(',', out);
	label(out, "source", snapshot ? snapshot->source : "");
	fputs("} 1\n", out);
}

static void write_age(const struct samples *samples, enum age age)
{
	family(samples->out, ages[age].name, "gauge", ages[age].help);
	for (size_t i = 0; i < samples->n; i++) {
		const struct sample *sample = &samples->of[i];

		if (sample->since_ms[age] == TERM_NO_TIME)
			continue;
		start(samples->out, ages[age].name, sample);
		put_seconds(samples->out, samples->now_ms - sample->since_ms[age]);
	}
}

static void write_counts(const struct samples *samples)
{
	family(samples->out, "rptfs_term_failures", "gauge",
	       "Updates that failed in a row; 0 after a success.");
	for (size_t i = 0; i < samples->n; i++) {
		start(samples->out, "rptfs_term_failures", &samples->of[i]);
		fprintf(samples->out, "%u\n", samples->of[i].failures);
	}
	family(samples->out, "rptfs_term_size_bytes", "gauge", "Size of the served bytes.");
	for (size_t i = 0; i < samples->n; i++) {
		if (!samples->of[i].has_snapshot)
			continue;
		start(samples->out, "rptfs_term_size_bytes", &samples->of[i]);
		fprintf(samples->out, "%" PRIu64 "\n", samples->of[i].size_bytes);
	}
}

static void write_result(FILE *out, const char *alias, const char *result, uint64_t count)
{
	fputs("rptfs_updates_total{", out);
	label(out, "term", alias);
	fprintf(out, ",result=\"%s\"} %" PRIu64 "\n", result, count);
}

static void write_updates(const struct samples *samples)
{
	family(samples->out, "rptfs_updates_total", "counter",
	       "Updates since the start, by result.");
	for (size_t i = 0; i < samples->n; i++) {
		const struct sample *sample = &samples->of[i];

		write_result(samples->out, sample->alias, "updated", sample->updated);
		write_result(samples->out, sample->alias, "unchanged", sample->unchanged);
		write_result(samples->out, sample->alias, "failed", sample->failed);
	}
}

static void write_operation(void *arg, const char *op, uint64_t count)
{
	FILE *out = arg;

	fprintf(out, "rptfs_fuse_requests_total{op=\"%s\"} %" PRIu64 "\n", op, count);
}

static void write_publishes(FILE *out, const struct control_view *view)
{
	struct publish_counts counts;

	fs_publish_counts(view->fs, &counts);
	family(out, "rptfs_moves_total", "counter",
	       "Names that appeared, moved to another snapshot, or disappeared, by mode.");
	fprintf(out, "rptfs_moves_total{mode=\"rename\"} %" PRIu64 "\n", counts.renamed);
	fprintf(out, "rptfs_moves_total{mode=\"notify\"} %" PRIu64 "\n", counts.notified);
	family(out, "rptfs_publish_seconds", "summary",
	       "Time from the commit of a new version until readers see it.");
	fprintf(out, "rptfs_publish_seconds_sum %" PRIu64 ".%09" PRIu64 "\n",
		counts.published_ns / NS_PER_S, counts.published_ns % NS_PER_S);
	fprintf(out, "rptfs_publish_seconds_count %" PRIu64 "\n", counts.published);
	single(out, "rptfs_prewarmed_bytes_total", "counter",
	       "Bytes put into the page cache before their version was published.",
	       counts.prewarmed_bytes);
}

static void write_mount(FILE *out, const struct control_view *view)
{
	uint64_t snapshots = 0, bytes = 0;
	char version[BUILD_VERSION_SIZE];

	store_usage(view->store, &snapshots, &bytes);
	family(out, "rptfs_build_info", "gauge", "The version of rptfs.");
	fprintf(out, "rptfs_build_info{version=\"%s\"} 1\n", build_version(version));
	single(out, "rptfs_worker_restarts_total", "counter",
	       "Workers of this mount that died and were replaced.", view->restarts);
	family(out, "rptfs_start_time_seconds", "gauge", "Unix time at which rptfs was started.");
	fputs("rptfs_start_time_seconds ", out);
	put_seconds(out, view->started_at_ms);
	single(out, "rptfs_snapshots", "gauge", "Snapshots in the store.", snapshots);
	single(out, "rptfs_snapshot_bytes", "gauge", "Bytes of all snapshots in the store.", bytes);
	single(out, "rptfs_update_threads", "gauge", "Update threads.",
	       refresher_threads(view->refresher));
	single(out, "rptfs_http_requests_total", "counter", "HTTP requests made since the start.",
	       http_requests_total(view->http));
	write_publishes(out, view);
	family(out, "rptfs_fuse_requests_total", "counter",
	       "Requests received from the kernel since the start, by operation.");
	fs_request_counts(view->fs, write_operation, out);
}

int metrics_render(const struct control_view *view, const struct term_access *access, char **ret,
		   size_t *ret_len, struct err *err)
{
	_cleanup_free_ struct sample *of = calloc(view->n_terms + 1, sizeof(*of));
	_cleanup_free_ char *text = NULL;
	size_t len = 0, n = 0;

	if (!of)
		return err_errno(err, "metrics");
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return err_errno(err, "metrics");

	family(out, "rptfs_term_info", "gauge",
	       "The served version, state and source of each term; always 1.");
	for (size_t i = 0; i < view->n_terms; i++) {
		if (term_rights_include(view->rights, access, &view->terms[i]))
			write_info(out, &view->terms[i], &of[n++]);
	}
	const struct samples samples = { .out = out, .now_ms = clock_wall_ms(), .of = of, .n = n };
	for (enum age age = 0; age < N_AGES; age++)
		write_age(&samples, age);
	write_counts(&samples);
	write_updates(&samples);
	write_mount(out, view);

	if (fclose(out) != 0)
		return err_errno(err, "metrics");
	*ret = steal_ptr(&text);
	*ret_len = len;
	return 0;
}
