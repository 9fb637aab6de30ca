/*
 * fake_s3: a service with one object, behind s3_perform(), and a sink in memory.
 *
 * Replaces fetchers/s3/s3_request.c, the responses of the HTTP engine, and the pipeline. A test
 * scripts it: it can break off, change the object or ignore headers. It records all requests.
 */
#ifndef TESTS_UNIT_FAKE_S3_H
#define TESTS_UNIT_FAKE_S3_H

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "fetchers/s3/s3_object.h"
#include "http/decode.h"
#include "fetchers/s3/s3_request.h"
#include "tap.h"

#define UNUSED __attribute__((unused))

/* ---- sink ---- */

struct sink {
	uint8_t *bytes; /* owned */
	uint64_t size, max_bytes, breaks_at;
	char *validator; /* owned */
	unsigned restarts;
};

int sink_expect(struct sink *sink, uint64_t size_bytes, struct err *err)
{
	return size_bytes <= sink->max_bytes ? 0 : err_set(err, ERR_BAD_DATA, "too large");
}

int sink_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	if (sink->breaks_at && sink->size + len > sink->breaks_at)
		return err_set(err, ERR_INTERNAL, "the disk is full");
	if (sink->size + len > sink->max_bytes)
		return err_set(err, ERR_BAD_DATA, "too large");
	memcpy(sink->bytes + sink->size, data, len);
	sink->size += len;
	return 0;
}

void sink_resumable(struct sink *sink, const char *validator)
{
	char *copy = strdup(validator);

	free(sink->validator);
	sink->validator = copy;
}

uint64_t sink_offset(const struct sink *sink, const char **ret_validator)
{
	*ret_validator = sink->size ? sink->validator : NULL;
	return sink->size;
}

int sink_restart(struct sink *sink, struct err *err)
{
	(void)err;
	free(sink->validator);
	sink->validator = NULL;
	sink->size = 0;
	sink->restarts++;
	return 0;
}

/* ---- the object and the service ---- */

struct object {
	const char *etag; /* NULL: none */
	const uint8_t *bytes;
	size_t size;
	const char *header, *value; /* another header; NULL: none */
	const char *checksum_name, *checksum;
	const uint32_t *part_bytes; /* of the upload, then 0; NULL: partNumber is refused */
	const char *modified;	    /* Last-Modified; NULL: an old date; "": none */
};

static inline const char *fake_modified(const struct object *object)
{
	const char *modified = object->modified ? object->modified
						: "Sun, 06 Nov 1994 08:49:37 GMT";

	return *modified ? modified : NULL;
}

/* An error for requests that begin at `first`. */
struct fault {
	enum { FAULT_NONE, FAULT_CUT, FAULT_BUSY, FAULT_DENIED, FAULT_FLIP, FAULT_SLOW_BUSY } kind;
	bool of_ranges;
	uint64_t first;
	size_t after; /* bytes before the error */
	unsigned times;
	unsigned from; /* not before this request */
};

struct seen {
	bool is_head, is_range, has_if_match, has_if_none_match, has_if_modified;
	uint64_t first, end;
	unsigned part_number;
};

#define SEEN_MAX 512

static struct fake_s3 {
	/* The script; set it only between downloads. */
	struct object *object;
	struct object *next; /* replaces object … */
	unsigned change_at;  /* … before this request, counted from 1 */
	bool flips;	     /* the object changes before each range */
	bool ignores_range, ignores_if_match, ignores_if_none_match, shifts_ranges, is_unframed;
	int64_t retry_after_ms;
	useconds_t takes_us; /* for each body */
	unsigned meets;	     /* a range waits until so many requests have run at once */
	struct fault faults[4];

	pthread_mutex_t lock;
	/* Guarded by lock. */
	struct seen seen[SEEN_MAX];
	unsigned n_seen, n_running, most_running;
	uint64_t sent;
	pthread_cond_t met; /* most_running has reached `meets` */
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER, .met = PTHREAD_COND_INITIALIZER };

#define HANGS_S 60

struct http_response {
	int status;
	const struct object *object;
	char content_range[96], parts_count[16];
	int64_t length;
};

int http_status(const struct http_response *response)
{
	return response->status;
}

const char *http_header(const struct http_response *response, const char *name)
{
	const struct object *object = response->object;

	if (strcasecmp(name, "ETag") == 0)
		return object->etag;
	if (strcasecmp(name, "Content-Range") == 0)
		return *response->content_range ? response->content_range : NULL;
	if (strcasecmp(name, "x-amz-mp-parts-count") == 0)
		return *response->parts_count ? response->parts_count : NULL;
	if (strcasecmp(name, "Last-Modified") == 0)
		return fake_modified(object);
	if (strcasecmp(name, "Content-Type") == 0)
		return "text/plain";
	if (object->header && strcasecmp(name, object->header) == 0)
		return object->value;
	if (object->checksum && strcasecmp(name, object->checksum_name) == 0 &&
	    response->status == 200)
		return object->checksum;
	return NULL;
}

void http_codings(const struct http_response *response, struct codings *ret)
{
	const char *line = http_header(response, "Content-Encoding");

	*ret = (struct codings){ .n = 0 };
	if (line)
		codings_add(ret, line);
}

bool http_is_framed(const struct http_response *response)
{
	return response->length >= 0;
}

int64_t http_length(const struct http_response *response)
{
	return response->length;
}

const char *s3_source_shown(const struct s3_source *source, char ret[S3_SHOWN_SIZE])
{
	(void)source;
	return strcpy(ret, "s3://bucket/key");
}

void s3_source_warn(struct s3_source *source, enum s3_warning warning)
{
	source->has_warned[warning] = true;
}

static const char *fake_line(const struct s3_request *ask, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; ask->headers && ask->headers[i]; i++) {
		if (strncmp(ask->headers[i], name, len) == 0)
			return ask->headers[i] + len;
	}
	return NULL;
}

static int fake_refuse(const struct s3_request *ask, int status, enum err_kind kind,
		       struct err *err)
{
	if (ask->ret_failure)
		*ask->ret_failure = (struct s3_failure){
			.status = status,
			.retry_after_ms = status == 503 ? fake.retry_after_ms : FETCHED_UNKNOWN,
		};
	return err_set(err, kind, "GET s3://bucket/key: %d", status);
}

/* Records a request. Returns the object and the fault that apply to it. */
static struct object fake_see(const struct s3_request *ask, struct seen *ret,
			      struct fault *ret_fault)
{
	const char *range = fake_line(ask, "Range: bytes=");
	struct seen seen = {
		.is_head = ask->method && strcmp(ask->method, "HEAD") == 0,
		.is_range = range && !fake.ignores_range,
		.has_if_match = fake_line(ask, "If-Match: "),
		.has_if_none_match = fake_line(ask, "If-None-Match: "),
		.has_if_modified = fake_line(ask, "If-Modified-Since: "),
		.part_number = ask->n_query ? (unsigned)atoi(ask->query[0].value) : 0,
	};
	struct object object;

	pthread_mutex_lock(&fake.lock);
	if (fake.next && (fake.n_seen + 1 == fake.change_at || (fake.flips && range))) {
		struct object *old = fake.object;
		fake.object = fake.next;
		fake.next = fake.flips ? old : NULL;
	}
	object = *fake.object;
	seen.end = object.size;
	if (seen.is_range) {
		unsigned long long first = 0, last = object.size - 1;
		sscanf(range, "%llu-%llu", &first, &last);
		seen.first = first;
		seen.end = last + 1 < object.size ? last + 1 : object.size;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fake.faults); i++) {
		struct fault *fault = &fake.faults[i];
		if (fault->times && fake.n_seen + 1 >= fault->from &&
		    fault->of_ranges == seen.is_range && !seen.is_head &&
		    fault->first == seen.first) {
			*ret_fault = *fault;
			fault->times--;
			break;
		}
	}
	if (fake.n_seen < SEEN_MAX)
		fake.seen[fake.n_seen++] = seen;
	if (++fake.n_running > fake.most_running)
		fake.most_running = fake.n_running;
	if (fake.most_running >= fake.meets)
		pthread_cond_broadcast(&fake.met);
	struct timespec until = clock_after(HANGS_S * MS_PER_S);
	while (seen.is_range && fake.most_running < fake.meets &&
	       pthread_cond_clockwait(&fake.met, &fake.lock, CLOCK_MONOTONIC, &until) == 0)
		continue;
	pthread_mutex_unlock(&fake.lock);
	*ret = seen;
	return object;
}

static int fake_body(const struct object *object, const struct seen *seen,
		     const struct fault *fault, const struct http_callbacks *callbacks,
		     struct err *err)
{
	uint8_t piece[1000];

	usleep(fake.takes_us);
	for (uint64_t at = seen->first, n; at < seen->end; at += n) {
		n = seen->end - at < sizeof(piece) ? seen->end - at : sizeof(piece);
		if (fault->kind == FAULT_CUT && at - seen->first + n > fault->after)
			return err_set(err, ERR_UNREACHABLE, "GET s3://bucket/key: cut");
		memcpy(piece, object->bytes + at + (fake.shifts_ranges && seen->is_range), n);
		if (fault->kind == FAULT_FLIP && at == seen->first)
			piece[0] ^= 1;
		pthread_mutex_lock(&fake.lock);
		fake.sent += n;
		pthread_mutex_unlock(&fake.lock);
		if (callbacks->on_body(callbacks->arg, piece, n, err) < 0)
			return -1;
	}
	return 0;
}

static int fake_head(const struct object *object, const struct s3_request *ask,
		     const struct seen *seen, const struct http_callbacks *callbacks,
		     struct err *err)
{
	struct http_response response = { .status = 206, .object = object };
	unsigned n = 0;

	if (!seen->part_number) {
		response.status = 200;
		response.length = (int64_t)object->size;
		return callbacks->on_headers(callbacks->arg, &response, err);
	}
	while (object->part_bytes && object->part_bytes[n])
		n++;
	if (seen->part_number < 1 || seen->part_number > n)
		return fake_refuse(ask, 400, ERR_BAD_DATA, err);
	response.length = object->part_bytes[seen->part_number - 1];
	snprintf(response.parts_count, sizeof(response.parts_count), "%u", n);
	return callbacks->on_headers(callbacks->arg, &response, err);
}

static int fake_answer(const struct object *object, const struct s3_request *ask,
		       const struct seen *seen, const struct fault *fault,
		       const struct http_callbacks *callbacks, struct err *err)
{
	const char *if_match = fake_line(ask, "If-Match: ");
	const char *if_none_match = fake_line(ask, "If-None-Match: ");
	struct http_response response = { .status = 200, .object = object };

	if (fault->kind == FAULT_SLOW_BUSY)
		usleep(100000);
	if (fault->kind == FAULT_BUSY || fault->kind == FAULT_SLOW_BUSY)
		return fake_refuse(ask, 503, ERR_BUSY, err);
	if (fault->kind == FAULT_DENIED)
		return fake_refuse(ask, 403, ERR_DENIED, err);
	if (if_match && !fake.ignores_if_match &&
	    (!object->etag || strcmp(if_match, object->etag) != 0))
		return fake_refuse(ask, 412, ERR_BUSY, err);
	if (if_none_match && !fake.ignores_if_none_match && object->etag &&
	    strcmp(if_none_match, object->etag) == 0) {
		response.status = 304;
		return callbacks->on_headers(callbacks->arg, &response, err);
	}
	if (seen->is_head)
		return fake_head(object, ask, seen, callbacks, err);
	if (seen->first >= seen->end && seen->is_range)
		return fake_refuse(ask, 416, ERR_BUSY, err);
	response.length = fake.is_unframed ? -1 : (int64_t)(seen->end - seen->first);
	if (seen->is_range) {
		unsigned shift = fake.shifts_ranges ? 1 : 0;
		response.status = 206;
		snprintf(response.content_range, sizeof(response.content_range),
			 "bytes %" PRIu64 "-%" PRIu64 "/%zu", seen->first + shift, seen->end - 1,
			 object->size);
	}
	if (callbacks->on_headers(callbacks->arg, &response, err) < 0)
		return -1;
	return fake_body(object, seen, fault, callbacks, err);
}

int s3_perform(struct s3_source *source, struct fetch_ctx *ctx, const struct s3_request *ask,
	       const struct http_callbacks *callbacks, struct err *err)
{
	struct fault fault = { .kind = FAULT_NONE };
	struct seen seen;
	int rc;

	(void)source;
	if (ask->ret_failure)
		*ask->ret_failure = (struct s3_failure){ .retry_after_ms = FETCHED_UNKNOWN };
	if (cancel_requested(ctx->cancel))
		return err_set(err, ERR_CANCELED, "canceled");
	struct object object = fake_see(ask, &seen, &fault);
	rc = fake_answer(&object, ask, &seen, &fault, callbacks, err);
	pthread_mutex_lock(&fake.lock);
	fake.n_running--;
	pthread_mutex_unlock(&fake.lock);
	return rc;
}

/* The number of recorded requests that satisfy a condition on `s`. */
#define fake_count(condition)                                   \
	({                                                      \
		int64_t n_ = 0;                                 \
		for (unsigned i_ = 0; i_ < fake.n_seen; i_++) { \
			const struct seen *s = &fake.seen[i_];  \
			n_ += (condition) ? 1 : 0;              \
		}                                               \
		n_;                                             \
	})

/* ---- one download ---- */

#define PART  8192
#define LARGE (40 * PART + 123)

static uint8_t small_bytes[1000], large_bytes[2][LARGE + 1];
static struct object small, large, other, twin;

static struct cancel cancel;
static struct s3_options options;
static struct s3_source source;
static struct sink sink;

/* The result of the last call. */
static enum fetch_result result;
static struct fetched fetched;
static struct err err;

static void reset(struct object *object)
{
	uint8_t *bytes = sink.bytes;

	fake = (struct fake_s3){ .object = object,
				 .retry_after_ms = FETCHED_UNKNOWN,
				 .lock = PTHREAD_MUTEX_INITIALIZER,
				 .met = PTHREAD_COND_INITIALIZER };
	options = (struct s3_options){
		.part_size_bytes = PART,
		.parallel_parts = 4,
		.checksum = S3_CHECKSUM_AUTO,
	};
	source = (struct s3_source){ .options = &options };
	pthread_mutex_init(&source.lock, NULL);
	free(sink.validator);
	sink = (struct sink){ .bytes = bytes, .max_bytes = LARGE };
}

/* With the notes of the answer before. */
static void fetch(const char *have)
{
	struct fetch_ctx ctx = { .cancel = &cancel };
	struct version version = fetched.version;

	if (have)
		snprintf(version.token, sizeof(version.token), "%s", have);
	fetched = (struct fetched){
		.last_modified = CLOCK_NO_TIME,
		.order_key = FETCHED_UNKNOWN,
		.fresh_for_ms = FETCHED_UNKNOWN,
		.retry_after_ms = FETCHED_UNKNOWN,
	};
	err = (struct err)ERR_INIT;
	fake.n_seen = 0;
	if (have)
		result = s3_object_download_if_changed(&source, &ctx, &version, &sink, &fetched,
						       &err);
	else
		result = s3_object_download(&source, &ctx, &sink, &fetched, &err) < 0
				 ? FETCH_FAILED
				 : FETCH_UPDATED;
	if (result == FETCH_FAILED)
		printf("# %s\n", err.msg);
}

static bool holds(const struct object *object)
{
	return result == FETCH_UPDATED && sink.size == object->size &&
	       memcmp(sink.bytes, object->bytes, sink.size) == 0 &&
	       strcmp(fetched.version.token, object->etag	     ? object->etag
					     : fake_modified(object) ? fake_modified(object)
								     : "") == 0;
}

static bool has_failed(enum err_kind kind)
{
	return result == FETCH_FAILED && err.kind == kind;
}

/* Does the sink hold the beginning of the object? */
UNUSED static bool holds_beginning(const struct object *object)
{
	return sink.size <= object->size && memcmp(sink.bytes, object->bytes, sink.size) == 0;
}

/* Puts the first bytes of the object into the sink. */
static void begin(const struct object *object, size_t bytes, const char *validator)
{
	memcpy(sink.bytes, object->bytes, bytes);
	sink.size = bytes;
	sink.validator = strdup(validator);
}

static void fixture_begin(void)
{
	for (size_t i = 0; i < LARGE; i++) {
		large_bytes[0][i] = (uint8_t)(i * 31 + i / 256);
		large_bytes[1][i] = (uint8_t)(i * 17 + i / 255);
	}
	memset(small_bytes, 's', sizeof(small_bytes));
	small = (struct object){ "\"small\"", small_bytes, sizeof(small_bytes) };
	large = (struct object){ "\"large\"", large_bytes[0], LARGE };
	other = (struct object){ "\"other\"", large_bytes[1], LARGE - 77 };
	twin = (struct object){ "\"twin\"", large_bytes[1], LARGE };
	sink.bytes = malloc(LARGE);
	cancel_init(&cancel, &err);
	log_set_level(LOG_LEVEL_ERROR);
}

static void fixture_end(void)
{
	free(sink.bytes);
	free(sink.validator);
	cancel_release(&cancel);
}

#endif
