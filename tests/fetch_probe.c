/*
 * fetch_probe: runs one fetcher with nothing around it and prints the result.
 *
 *	fetch_probe [-b] [-h HAVE] [-p FILE] [-v VALIDATOR] [-c MS] [-n TIMES] [-j CALLERS]
 *	            FETCHER OPTION=VALUE …
 *
 *	-h  the version token that is already known
 *	-p  resume: FILE holds the bytes that are already in the sink, VALIDATOR is its validator
 *	-c  cancel after MS milliseconds
 *	-n  how often each thread fetches
 *	-j  how many threads fetch; the printed result is that of the last fetch
 *	-b  do not compute SHA-256
 *
 * Prints key=value lines: result, kind, message, bytes, sha256, version, …
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/util.h"
#include "fetch/fetcher.h"
#include "http/http.h"
#include "fetchers/registry.h"
#include "tests/unit/make_options.h"

/* A sink that stores nothing. */
struct sink {
	struct digest *digest;
	uint64_t bytes, expected;
	char validator[VERSION_SIZE];
	unsigned restarts;
};

struct probe {
	const char *have, *partial, *validator;
	int64_t cancel_after_ms;
	int times, callers;
	bool is_bare;
	const struct fetcher_ops *ops;
	void *state;
	struct fetch_ctx ctx;
};

int sink_expect(struct sink *sink, uint64_t size_bytes, struct err *err)
{
	(void)err;
	sink->expected = size_bytes;
	return 0;
}

int sink_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	sink->bytes += len;
	return sink->digest ? digest_update(sink->digest, data, len, err) : 0;
}

void sink_resumable(struct sink *sink, const char *validator)
{
	snprintf(sink->validator, sizeof(sink->validator), "%s", validator);
}

uint64_t sink_offset(const struct sink *sink, const char **ret_validator)
{
	*ret_validator = sink->validator;
	return sink->bytes;
}

int sink_restart(struct sink *sink, struct err *err)
{
	sink->bytes = 0;
	sink->restarts++;
	sink->validator[0] = '\0';
	return sink->digest ? digest_reset(sink->digest, err) : 0;
}

static int fill(struct sink *sink, const char *path, const char *validator, struct err *err)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	char data[4096];
	size_t n;

	if (!file)
		return err_errno(err, "open %s", path);
	while ((n = fread(data, 1, sizeof(data), file)) > 0) {
		if (sink_write(sink, data, n, err) < 0)
			return -1;
	}
	sink_resumable(sink, validator ? validator : "");
	return 0;
}

static enum fetch_result fetch(const struct probe *probe, struct sink *sink, struct fetched *ret,
			       struct err *err)
{
	struct fetch_ctx ctx = probe->ctx;
	struct version have = { .token = "" };

	*ret = (struct fetched){
		.last_modified = CLOCK_NO_TIME,
		.order_key = FETCHED_UNKNOWN,
		.fresh_for_ms = FETCHED_UNKNOWN,
		.retry_after_ms = FETCHED_UNKNOWN,
	};
	if (!probe->have)
		return probe->ops->download(probe->state, &ctx, sink, ret, err) < 0 ? FETCH_FAILED
										    : FETCH_UPDATED;
	snprintf(have.token, sizeof(have.token), "%s", probe->have);
	return probe->ops->download_if_changed(probe->state, &ctx, &have, sink, ret, err);
}

static void print_outcome(enum fetch_result result, struct sink *sink,
			  const struct fetched *fetched, const struct err *err)
{
	static const char *const names[] = { "updated", "unchanged", "failed" };
	struct err ignored = ERR_INIT;
	uint8_t sum[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];
	char shown[VERSION_SIZE];

	printf("result=%s\n", names[result]);
	if (result == FETCH_FAILED)
		printf("kind=%s\nmessage=%s\n", err_kind_name(err->kind), err->msg);
	printf("bytes=%" PRIu64 "\nexpected=%" PRIu64 "\nrestarts=%u\nvalidator=%s\n", sink->bytes,
	       sink->expected, sink->restarts, sink->validator);
	if (sink->digest && digest_final(sink->digest, sum, &ignored) == 0)
		printf("sha256=%s\n", digest_hex(sum, hex));
	printf("token=%s\nversion=%s\ncontent_type=%s\n", fetched->version.token,
	       version_display(fetched->version.token, shown), fetched->content_type);
	printf("last_modified_ms=%" PRId64 "\nfresh_for_ms=%" PRId64 "\nretry_after_ms=%" PRId64
	       "\n",
	       clock_is_time(fetched->last_modified) ? clock_to_ms(fetched->last_modified)
						     : FETCHED_UNKNOWN,
	       fetched->fresh_for_ms, fetched->retry_after_ms);
}

static int probe_once(const struct probe *probe, bool is_printed)
{
	struct sink sink = { .bytes = 0 };
	struct fetched fetched = { .version.token = "" };
	struct err err = ERR_INIT;
	enum fetch_result result = FETCH_FAILED;

	if ((probe->is_bare || digest_new(&sink.digest, &err) == 0) &&
	    (!probe->partial || fill(&sink, probe->partial, probe->validator, &err) == 0))
		result = fetch(probe, &sink, &fetched, &err);
	if (is_printed)
		print_outcome(result, &sink, &fetched, &err);
	digest_free(sink.digest);
	return result == FETCH_FAILED ? 1 : 0;
}

static void *caller_main(void *arg)
{
	struct probe *probe = arg;

	for (int i = 1; i < probe->times; i++)
		probe_once(probe, false);
	return NULL;
}

static void *canceler_main(void *arg)
{
	struct probe *probe = arg;
	struct timespec wait = { .tv_sec = probe->cancel_after_ms / MS_PER_S,
				 .tv_nsec = probe->cancel_after_ms % MS_PER_S * 1000000 };

	nanosleep(&wait, NULL);
	cancel_request(probe->ctx.cancel);
	return NULL;
}

static int64_t cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static int run(struct probe *probe)
{
	pthread_t callers[512], canceler;
	int64_t began_ms = clock_boot_ms(), began_us = cpu_us();

	if (probe->cancel_after_ms && pthread_create(&canceler, NULL, canceler_main, probe) != 0)
		return 1;
	for (int i = 1; i < probe->callers; i++) {
		if (pthread_create(&callers[i], NULL, caller_main, probe) != 0)
			return 1;
	}
	caller_main(probe);
	for (int i = 1; i < probe->callers; i++)
		pthread_join(callers[i], NULL);
	int rc = probe_once(probe, true);
	if (probe->cancel_after_ms)
		pthread_join(canceler, NULL);
	printf("requests=%" PRIu64 "\nms=%" PRId64 "\ncpu_us=%" PRId64 "\n",
	       http_requests_total(probe->ctx.http), clock_boot_ms() - began_ms,
	       cpu_us() - began_us);
	return rc;
}

static int parse_options(struct options *options, char **pairs, struct err *err)
{
	for (; *pairs; pairs++) {
		char *equals = strchr(*pairs, '=');
		if (!equals)
			return err_set(err, ERR_CONFIG, "%s: not OPTION=VALUE", *pairs);
		*equals = '\0';
		if (options_set(options, *pairs, equals + 1, err) < 0)
			return -1;
	}
	return 0;
}

static int set_up(struct probe *probe, char **argv, struct options **ret, struct err *err)
{
	for (size_t i = 0; *argv && fetcher_types[i]; i++) {
		if (strcmp(fetcher_types[i]->name, *argv) == 0)
			probe->ops = container_of(fetcher_types[i], struct fetcher_ops, type);
	}
	if (!probe->ops)
		return err_set(err, ERR_CONFIG, "no such fetcher");
	*ret = options_make(probe->ops->type.options);
	if (parse_options(*ret, argv + 1, err) < 0 ||
	    options_finish(*ret, &probe->ops->type, err) < 0 ||
	    probe->ops->type.init(&probe->state, (*ret)->values, NULL, err) < 0)
		return -1;
	return http_new(&probe->ctx.http, NULL, probe->ctx.cancel, err);
}

int main(int argc, char **argv)
{
	struct cancel cancel;
	struct probe probe = { .times = 1, .callers = 1, .ctx.cancel = &cancel };
	struct options *options = NULL;
	struct err err = ERR_INIT;
	int opt, rc = 2;

	while ((opt = getopt(argc, argv, "+bh:p:v:c:n:j:")) != -1) {
		if (opt == 'b')
			probe.is_bare = true;
		else if (opt == 'h')
			probe.have = optarg;
		else if (opt == 'p')
			probe.partial = optarg;
		else if (opt == 'v')
			probe.validator = optarg;
		else if (opt == 'c')
			probe.cancel_after_ms = atoi(optarg);
		else if (opt == 'n')
			probe.times = atoi(optarg);
		else if (opt == 'j')
			probe.callers = atoi(optarg) < 512 ? atoi(optarg) : 512;
		else
			return 2;
	}
	if (cancel_init(&cancel, &err) < 0 || set_up(&probe, argv + optind, &options, &err) < 0)
		printf("result=failed\nkind=%s\nmessage=%s\n", err_kind_name(err.kind), err.msg);
	else
		rc = run(&probe);
	http_free(probe.ctx.http);
	if (probe.state)
		probe.ops->type.free(probe.state);
	options_free(options);
	cancel_release(&cancel);
	return rc;
}
