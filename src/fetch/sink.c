#include "fetch/sink.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"

struct sink {
	struct store *store; /* borrowed */
	uint64_t min_bytes;
	uint64_t max_bytes;
	int64_t deadline_ms;	     /* clock_boot_ms(); INT64_MAX: none */
	int64_t timeout_ms;	     /* for messages */
	struct store_writer *writer; /* owned; NULL until the first byte */
	char *validator;	     /* owned; NULL: cannot be resumed */
	uint64_t kept_bytes;	     /* counted in kept_total; 0: it is not kept */
};

/* All kept sinks of the process. */
static atomic_uint kept_sinks;
static _Atomic uint64_t kept_total;

int sink_new(struct sink **ret, struct store *store, uint64_t min_bytes, uint64_t max_bytes,
	     struct err *err)
{
	struct sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return err_set(err, ERR_INTERNAL, "starting a download: out of memory");
	sink->store = store;
	sink->min_bytes = min_bytes;
	sink->max_bytes = max_bytes;
	sink->deadline_ms = INT64_MAX;
	*ret = sink;
	return 0;
}

void sink_set_deadline(struct sink *sink, int64_t deadline_ms, int64_t timeout_ms)
{
	sink->deadline_ms = deadline_ms;
	sink->timeout_ms = timeout_ms;
}

void sink_free(struct sink *sink)
{
	if (!sink)
		return;
	sink_resume(sink);
	if (sink->writer)
		store_writer_free(sink->writer);
	free(sink->validator);
	free(sink);
}

static int need_writer(struct sink *sink, struct err *err)
{
	if (sink->writer)
		return 0;
	return store_writer_new(sink->store, &sink->writer, err);
}

static int refuse_size(const struct sink *sink, struct err *err)
{
	return err_set(err, ERR_BAD_DATA, "the content is larger than max_size (%" PRIu64 " bytes)",
		       sink->max_bytes);
}

static int refuse_less(const struct sink *sink, uint64_t size_bytes, struct err *err)
{
	return err_set(err, ERR_BAD_DATA,
		       "the content is %" PRIu64 " bytes, less than min_size (%" PRIu64 " bytes)",
		       size_bytes, sink->min_bytes);
}

int sink_expect(struct sink *sink, uint64_t size_bytes, struct err *err)
{
	if (size_bytes > sink->max_bytes)
		return refuse_size(sink, err);
	if (size_bytes < sink->min_bytes)
		return refuse_less(sink, size_bytes, err);
	return 0;
}

int sink_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	char text[CLOCK_HUMAN_SIZE];

	if (clock_boot_ms() >= sink->deadline_ms)
		return err_set(err, ERR_UNREACHABLE,
			       "not complete within the attempt_timeout of %s",
			       clock_human(sink->timeout_ms, text));
	if (len > sink->max_bytes - sink_offset(sink, NULL))
		return refuse_size(sink, err);
	if (need_writer(sink, err) < 0)
		return -1;
	return store_writer_write(sink->writer, data, len, err);
}

void sink_resumable(struct sink *sink, const char *validator)
{
	/* Copied first: it may be the text that sink_offset() returned. */
	char *copy = strdup(validator);

	free(sink->validator);
	sink->validator = copy;
}

uint64_t sink_offset(const struct sink *sink, const char **ret_validator)
{
	uint64_t offset = sink->writer ? store_writer_size(sink->writer) : 0;

	if (ret_validator)
		*ret_validator = offset ? sink->validator : NULL;
	return offset;
}

int sink_restart(struct sink *sink, struct err *err)
{
	free(sink->validator);
	sink->validator = NULL;
	return sink->writer ? store_writer_restart(sink->writer, err) : 0;
}

bool sink_keep(struct sink *sink)
{
	uint64_t bytes = sink_offset(sink, NULL);

	if (!sink->validator || bytes < SINK_KEEP_MIN_BYTES)
		return false;
	unsigned others = atomic_fetch_add(&kept_sinks, 1);
	uint64_t others_bytes = atomic_fetch_add(&kept_total, bytes);
	sink->kept_bytes = bytes;
	if (others < SINK_KEEP_MAX_SINKS &&
	    (others == 0 || others_bytes + bytes <= SINK_KEEP_TOTAL_BYTES))
		return true;
	sink_resume(sink);
	return false;
}

void sink_resume(struct sink *sink)
{
	if (!sink->kept_bytes)
		return;
	atomic_fetch_sub(&kept_sinks, 1);
	atomic_fetch_sub(&kept_total, sink->kept_bytes);
	sink->kept_bytes = 0;
}

int sink_finish(struct sink *sink, struct store_writer **ret_writer, uint8_t ret[DIGEST_SIZE],
		struct err *err)
{
	if (sink_offset(sink, NULL) < sink->min_bytes)
		return refuse_less(sink, sink_offset(sink, NULL), err);
	if (need_writer(sink, err) < 0 || store_writer_digest(sink->writer, ret, err) < 0)
		return -1;
	*ret_writer = sink->writer;
	return 0;
}
