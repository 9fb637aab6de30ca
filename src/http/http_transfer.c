#include "http/http_transfer.h"

#include <string.h>
#include <sys/un.h>

#include "base/fd_path.h"
#include "base/util.h"

#define BUFFER_MIN (16 * 1024)

/* ---- life ---- */

int transfer_init(struct transfer *transfer, struct err *err)
{
	*transfer = (struct transfer){ .easy = curl_easy_init(), .unix_socket = -1 };
	if (!transfer->easy)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	pthread_mutex_init(&transfer->lock, NULL);
	pthread_cond_init(&transfer->changed, NULL);
	return 0;
}

void transfer_set_address(const struct transfer *transfer, struct curl_sockaddr *address)
{
	struct sockaddr_un *path = (struct sockaddr_un *)(void *)&address->addr;

	if (transfer->unix_socket < 0)
		return;
	fd_path(transfer->unix_socket, path->sun_path);
	address->addrlen = sizeof(*path);
}

static void buffer_release(struct transfer_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct transfer_buffer){ .data = NULL };
}

/* Other handles may hold the remains of their transfer. Before libcurl 8.1 all do: a transfer whose
 * first header is folded follows a dangling pointer to the headers of the one before (curl issue
 * 11101). */
bool transfer_is_reusable(const struct transfer *transfer)
{
	return curl_version_info(CURLVERSION_NOW)->version_num >= 0x080100 &&
	       transfer->end == END_CURL && transfer->code == CURLE_OK;
}

void transfer_clear(struct transfer *transfer)
{
	curl_easy_reset(transfer->easy);
	curl_slist_free_all(steal_ptr(&transfer->headers));
	free(steal_ptr(&transfer->origin));
	free(steal_ptr(&transfer->host_key));
	http_response_release(&transfer->response);
	buffer_release(&transfer->filling);
	buffer_release(&transfer->drained);
	close_cleanup(&transfer->unix_socket);
	transfer->unix_socket = -1;
	transfer->is_public_only = false;
	transfer->besides = 0;
	transfer->is_requested = transfer->is_discarding = transfer->has_avoided = false;
	transfer->has_headers = transfer->headers_taken = transfer->is_paused = false;
	transfer->received_bytes = transfer->stalled_bytes = 0;
	transfer->headers_bytes = 0;
	transfer->error[0] = '\0';
	transfer->code = CURLE_OK;
	transfer->failed = transfer->end = END_NONE;
	transfer->budget = NULL;
}

void transfer_release(struct transfer *transfer)
{
	transfer_clear(transfer);
	curl_easy_cleanup(transfer->easy);
	pthread_cond_destroy(&transfer->changed);
	pthread_mutex_destroy(&transfer->lock);
}

/* ---- the caller ---- */

/* With the lock held. */
static enum transfer_event next_event(const struct transfer *transfer)
{
	if (transfer->end == END_CANCELED)
		return TRANSFER_END;
	if (transfer->has_headers && !transfer->headers_taken)
		return TRANSFER_HEADERS;
	return transfer->filling.used ? TRANSFER_BODY : TRANSFER_END;
}

enum transfer_event transfer_next(struct transfer *transfer, const void **ret_data, size_t *ret_len,
				  bool *ret_is_paused)
{
	*ret_is_paused = false;
	pthread_mutex_lock(&transfer->lock);
	while (transfer->end == END_NONE && !transfer->filling.used)
		pthread_cond_wait(&transfer->changed, &transfer->lock);
	enum transfer_event event = next_event(transfer);
	if (event == TRANSFER_BODY) {
		struct transfer_buffer full = transfer->filling;
		transfer->filling = transfer->drained;
		transfer->filling.used = 0;
		transfer->drained = full;
		*ret_is_paused = transfer->is_paused;
	}
	pthread_mutex_unlock(&transfer->lock);

	if (event == TRANSFER_HEADERS)
		transfer->headers_taken = true;
	if (event == TRANSFER_BODY) {
		*ret_data = transfer->drained.data;
		*ret_len = transfer->drained.used;
	}
	return event;
}

void transfer_join(struct transfer *transfer)
{
	pthread_mutex_lock(&transfer->lock);
	while (transfer->end == END_NONE)
		pthread_cond_wait(&transfer->changed, &transfer->lock);
	pthread_mutex_unlock(&transfer->lock);
}

/* ---- the engine's thread ---- */

static bool take_response(struct transfer *transfer)
{
	if (!http_response_read(transfer->easy, &transfer->response)) {
		transfer->failed = END_NO_MEMORY;
		return false;
	}
	pthread_mutex_lock(&transfer->lock);
	transfer->has_headers = transfer->response.fields != NULL;
	pthread_mutex_unlock(&transfer->lock);
	return true;
}

bool transfer_charge(struct transfer *transfer, int64_t bytes)
{
	struct http_budget *budget = transfer->budget;
	uint64_t added = (uint64_t)bytes;

	if (!budget || atomic_fetch_add(&budget->bytes, added) + added <= budget->max_bytes)
		return true;
	transfer->failed = END_TOO_MUCH;
	return false;
}

static bool count(struct transfer *transfer, size_t len)
{
	int64_t bytes = (int64_t)len;
	/* These were charged while they were unread. */
	int64_t charged = transfer->besides < bytes ? transfer->besides : bytes;

	transfer->received_bytes += len;
	transfer->besides -= charged;
	return transfer_charge(transfer, bytes - charged);
}

size_t transfer_put_header(struct transfer *transfer, const char *line, size_t len)
{
	transfer->headers_bytes += len;
	if (!count(transfer, len))
		return 0;
	if (transfer->headers_bytes > HTTP_HEADERS_MAX) {
		transfer->failed = END_HEADERS;
		return 0;
	}
	bool is_last = line[0] == '\r' || line[0] == '\n';
	if (is_last && !transfer->response.fields && !take_response(transfer))
		return 0;
	return len;
}

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

/* Data that curl buffered during a pause is taken whole; otherwise the rest would pile up there. */
static bool is_full(const struct transfer *transfer, size_t len)
{
	size_t max = transfer->response.is_http2 ? TRANSFER_BUFFER_HTTP2_MAX : TRANSFER_BUFFER_MAX;

	return transfer->filling.used + len > max && !transfer->is_resuming;
}

size_t transfer_put_body(struct transfer *transfer, const char *data, size_t len)
{
	struct transfer_buffer *buffer = &transfer->filling;
	size_t ret = len;

	if (transfer->failed != END_NONE)
		return CURL_WRITEFUNC_ERROR;
	if (transfer->is_discarding)
		return len;
	if (!transfer->response.fields) {
		transfer->failed = END_INTERIM;
		return CURL_WRITEFUNC_ERROR;
	}
	pthread_mutex_lock(&transfer->lock);
	if (is_full(transfer, len)) {
		transfer->is_paused = true;
		ret = CURL_WRITEFUNC_PAUSE;
	} else if (!count(transfer, len)) {
		ret = CURL_WRITEFUNC_ERROR;
	} else if (!buffer_reserve(buffer, len)) {
		transfer->failed = END_NO_MEMORY;
		ret = CURL_WRITEFUNC_ERROR;
	} else {
		memcpy(buffer->data + buffer->used, data, len);
		if (!buffer->used)
			pthread_cond_signal(&transfer->changed);
		buffer->used += len;
	}
	pthread_mutex_unlock(&transfer->lock);
	return ret;
}

CURLcode transfer_resume(struct transfer *transfer)
{
	pthread_mutex_lock(&transfer->lock);
	transfer->is_paused = false;
	pthread_mutex_unlock(&transfer->lock);
	/* curl passes its buffered data to transfer_put_body() before this returns. */
	transfer->is_resuming = true;
	CURLcode code = curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
	transfer->is_resuming = false;
	return code;
}

void transfer_discard(struct transfer *transfer)
{
	if (!transfer->is_paused)
		return;
	/* libcurl 7.88 does not free what it holds of a stream whose connection others use, and
	 * would pass it to the handle's next transfer. */
	transfer->is_discarding = true;
	curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
}

void transfer_finish(struct transfer *transfer, enum transfer_end end)
{
	pthread_mutex_lock(&transfer->lock);
	transfer->end = end;
	pthread_cond_signal(&transfer->changed);
	pthread_mutex_unlock(&transfer->lock);
}
