/*
 * A transfer: what passes between a caller and the engine's thread.
 *
 * The thread appends body to `filling` and pauses the transfer when that is full; the caller takes
 * the whole buffer in exchange for the one it has emptied, so that a byte is copied once and a busy
 * transfer costs few wake-ups. The response's headers are copied when they are complete, because
 * curl may still add to its own list (trailers) while the caller reads.
 */
#include <string.h>

#include "base/util.h"
#include "http/http_engine.h"

#define BUFFER_MIN     (16 * 1024)
#define CURL_READ_SIZE (256 * 1024)

/* ---- callbacks of curl, in the engine's thread ---- */

static bool buffer_reserve(struct transfer_buffer *buffer, size_t len)
{
	size_t size = buffer->size ? buffer->size : BUFFER_MIN;

	if (buffer->used + len <= buffer->size)
		return true;
	while (size < buffer->used + len)
		size *= 2;
	char *data = realloc(buffer->data, size);
	if (!data)
		return false;
	buffer->data = data;
	buffer->size = size;
	return true;
}

/* What curl held during a pause is taken as a whole: what were left would add up. */
static bool is_full(const struct transfer *transfer, size_t len)
{
	size_t max = transfer->response.is_http2 ? TRANSFER_BUFFER_HTTP2_MAX : TRANSFER_BUFFER_MAX;

	return transfer->filling.used + len > max && !transfer->is_resuming;
}

static size_t on_write(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *transfer = arg;
	struct transfer_buffer *buffer = &transfer->filling;
	size_t len = size * n;
	size_t ret = len;

	if (transfer->failed != END_NONE)
		return CURL_WRITEFUNC_ERROR;
	if (transfer->is_discarding)
		return len;
	pthread_mutex_lock(&transfer->lock);
	if (is_full(transfer, len)) {
		transfer->is_paused = true;
		ret = CURL_WRITEFUNC_PAUSE;
	} else if (!buffer_reserve(buffer, len)) {
		transfer->failed = END_NO_MEMORY;
		ret = CURL_WRITEFUNC_ERROR;
	} else {
		memcpy(buffer->data + buffer->used, data, len);
		if (!buffer->used)
			pthread_cond_signal(&transfer->changed);
		buffer->used += len;
		transfer->received_bytes += len;
	}
	pthread_mutex_unlock(&transfer->lock);
	return ret;
}

/* Is the only transfer coding "chunked"? Another one would have to be decoded, and was not asked
 * for. */
static bool is_chunked(const char *value)
{
	return strcasecmp(value, "chunked") == 0;
}

static void judge_framing(struct transfer *transfer, long status, bool is_http2)
{
	struct http_response *response = &transfer->response;
	size_t n_codings = http_header_count(response, "Transfer-Encoding");
	curl_off_t length = -1;

	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	response->status = (int)status;
	response->is_http2 = is_http2;
	response->length = n_codings ? -1 : length;
	if (is_http2)
		response->is_framed = true;
	else if (n_codings)
		response->is_framed = n_codings == 1 &&
				      is_chunked(http_header(response, "Transfer-Encoding"));
	else
		response->is_framed = length >= 0;
}

/* Copies name and value of each header into one allocation. */
static bool copy_headers(struct transfer *transfer)
{
	struct curl_header *header = NULL;
	size_t n = 0, bytes = 0;

	while ((header = curl_easy_nextheader(transfer->easy, CURLH_HEADER, -1, header))) {
		n++;
		bytes += strlen(header->name) + strlen(header->value) + 2;
	}
	struct http_field *fields = malloc(n * sizeof(*fields) + bytes + 1);
	if (!fields)
		return false;
	char *text = (char *)(fields + n);
	size_t i = 0;
	while ((header = curl_easy_nextheader(transfer->easy, CURLH_HEADER, -1, header))) {
		fields[i].name = text;
		text = stpcpy(text, header->name) + 1;
		fields[i++].value = text;
		text = stpcpy(text, header->value) + 1;
	}
	transfer->response.fields = fields;
	transfer->response.n_fields = n;
	return true;
}

static bool take_response(struct transfer *transfer)
{
	long status = 0, version = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
	if (status < 200)
		return true;
	if (!copy_headers(transfer)) {
		transfer->failed = END_NO_MEMORY;
		return false;
	}
	judge_framing(transfer, status, version >= CURL_HTTP_VERSION_2_0);
	if (version >= CURL_HTTP_VERSION_2_0)
		engine_multiplexed(transfer->http, transfer);
	pthread_mutex_lock(&transfer->lock);
	transfer->has_headers = true;
	pthread_mutex_unlock(&transfer->lock);
	return true;
}

/* One line, the empty one at the end included; trailers come here as well. */
static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct transfer *transfer = arg;
	size_t len = size * n;

	transfer->received_bytes += len;
	transfer->headers_bytes += len;
	if (transfer->headers_bytes > HTTP_HEADERS_MAX) {
		transfer->failed = END_HEADERS;
		return 0;
	}
	if (!transfer->response.fields && (line[0] == '\r' || line[0] == '\n') &&
	    !take_response(transfer))
		return 0;
	return len;
}

static int on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct transfer *transfer = arg;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	engine_requested(transfer->http, transfer);
	return CURL_PREREQFUNC_OK;
}

/* ---- life ---- */

static void set_callbacks(struct transfer *transfer)
{
	CURL *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)CURL_READ_SIZE);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
}

static struct transfer *allocate(struct http *http)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return NULL;
	transfer->http = http;
	transfer->easy = curl_easy_init();
	if (!transfer->easy) {
		free(transfer);
		return NULL;
	}
	pthread_mutex_init(&transfer->lock, NULL);
	pthread_cond_init(&transfer->changed, NULL);
	return transfer;
}

int transfer_new(struct http *http, struct transfer **ret, struct err *err)
{
	struct transfer *transfer = engine_take(http);

	if (!transfer)
		transfer = allocate(http);
	if (!transfer)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	set_callbacks(transfer);
	*ret = transfer;
	return 0;
}

static void buffer_release(struct transfer_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct transfer_buffer){ .data = NULL };
}

/* Everything that belongs to one request; the handle keeps its connection's TLS session. */
static void clear(struct transfer *transfer)
{
	curl_easy_reset(transfer->easy);
	curl_slist_free_all(steal_ptr(&transfer->headers));
	free(steal_ptr(&transfer->origin));
	free(steal_ptr(&transfer->host_key));
	free(transfer->response.fields);
	transfer->response = (struct http_response){ .status = 0 };
	buffer_release(&transfer->filling);
	buffer_release(&transfer->drained);
	transfer->is_requested = transfer->is_unstartable = transfer->is_discarding = false;
	transfer->is_finished = transfer->headers_taken = false;
	transfer->has_headers = transfer->is_paused = false;
	transfer->received_bytes = transfer->stalled_bytes = 0;
	transfer->headers_bytes = 0;
	transfer->error[0] = '\0';
	transfer->code = CURLE_OK;
	transfer->failed = transfer->end = END_NONE;
}

void transfer_destroy(struct transfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	pthread_cond_destroy(&transfer->changed);
	pthread_mutex_destroy(&transfer->lock);
	free(transfer);
}

/* A handle is used again only after a transfer that went well: what curl leaves behind in others is
 * not known. */
void transfer_free(struct transfer *transfer)
{
	bool went_well = transfer->end == END_CURL && transfer->code == CURLE_OK;

	clear(transfer);
	if (!went_well || !engine_keep(transfer->http, transfer))
		transfer_destroy(transfer);
}

/* ---- the caller's side ---- */

void transfer_start(struct transfer *transfer)
{
	engine_ask(transfer->http, transfer, ASK_START);
}

void transfer_stop(struct transfer *transfer)
{
	engine_ask(transfer->http, transfer, ASK_STOP);
	pthread_mutex_lock(&transfer->lock);
	while (transfer->end == END_NONE)
		pthread_cond_wait(&transfer->changed, &transfer->lock);
	pthread_mutex_unlock(&transfer->lock);
}

/* Under the lock: what the caller is told next. */
static enum transfer_event next_event(const struct transfer *transfer)
{
	if (transfer->end == END_CANCELED)
		return TRANSFER_END;
	if (transfer->has_headers && !transfer->headers_taken)
		return TRANSFER_HEADERS;
	return transfer->filling.used ? TRANSFER_BODY : TRANSFER_END;
}

enum transfer_event transfer_wait(struct transfer *transfer, const void **ret_data, size_t *ret_len)
{
	bool must_resume = false;

	pthread_mutex_lock(&transfer->lock);
	while (transfer->end == END_NONE && !transfer->filling.used)
		pthread_cond_wait(&transfer->changed, &transfer->lock);
	enum transfer_event event = next_event(transfer);
	if (event == TRANSFER_BODY) {
		struct transfer_buffer full = transfer->filling;
		transfer->filling = transfer->drained;
		transfer->filling.used = 0;
		transfer->drained = full;
		must_resume = transfer->is_paused;
	}
	pthread_mutex_unlock(&transfer->lock);

	if (event == TRANSFER_HEADERS)
		transfer->headers_taken = true;
	if (event == TRANSFER_BODY) {
		*ret_data = transfer->drained.data;
		*ret_len = transfer->drained.used;
	}
	if (must_resume)
		engine_ask(transfer->http, transfer, ASK_RESUME);
	return event;
}

/* ---- the engine's side ---- */

void transfer_resume(struct transfer *transfer)
{
	pthread_mutex_lock(&transfer->lock);
	transfer->is_paused = false;
	pthread_mutex_unlock(&transfer->lock);
	/* What curl holds comes through on_write() before this returns. */
	transfer->is_resuming = true;
	curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
	transfer->is_resuming = false;
}

void transfer_discard(struct transfer *transfer)
{
	if (!transfer->is_paused)
		return;
	/* libcurl 7.88 forgets to free what it holds of a stream whose connection others use, and
	 * would give it to the handle's next transfer. */
	transfer->is_discarding = true;
	curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
}

void transfer_finish(struct transfer *transfer, enum transfer_end end)
{
	/* Once it is unlocked the transfer may be gone. */
	pthread_mutex_lock(&transfer->lock);
	transfer->end = end;
	pthread_cond_signal(&transfer->changed);
	pthread_mutex_unlock(&transfer->lock);
}

/* ---- the response ---- */

int http_status(const struct http_response *response)
{
	return response->status;
}

bool http_is_framed(const struct http_response *response)
{
	return response->is_framed;
}

int64_t http_length(const struct http_response *response)
{
	return response->length;
}

const char *http_header_at(const struct http_response *response, const char *name, size_t index)
{
	for (size_t i = 0; i < response->n_fields; i++) {
		if (strcasecmp(response->fields[i].name, name) == 0 && index-- == 0)
			return response->fields[i].value;
	}
	return NULL;
}

const char *http_header(const struct http_response *response, const char *name)
{
	return http_header_at(response, name, 0);
}

size_t http_header_count(const struct http_response *response, const char *name)
{
	size_t n = 0;

	while (http_header_at(response, name, n))
		n++;
	return n;
}
