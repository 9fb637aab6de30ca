/*
 * http_transfer: one transfer, as its caller and the engine's thread share it. Internal to http*.c.
 *
 * The engine's thread appends the body to `filling`, and pauses the transfer when that is full. The
 * caller takes the whole buffer in exchange for the one that it has emptied. So a byte is copied
 * once, and a busy transfer costs few wake-ups.
 *
 * The curl handle and what was set for it belong to the caller before the start and after the end,
 * to the engine's thread in between. Nothing here knows the engine.
 */
#ifndef HTTP_HTTP_TRANSFER_H
#define HTTP_HTTP_TRANSFER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "http/http.h"
#include "http/http_response.h"

/*
 * About the size of each of the two buffers. With HTTP/2 a pause does not stop the server: libcurl
 * announces a window of 32 MiB for each stream, holds what arrives, and gives up at 64 MiB. So a
 * body that is announced to be larger than the buffer for HTTP/2 is requested again with HTTP/1.1
 * (see http.c), and only a coded body of unknown length is ever paused.
 */
#define TRANSFER_BUFFER_MAX	  (1024 * 1024)
#define TRANSFER_BUFFER_HTTP2_MAX (4 * 1024 * 1024)

struct transfer_buffer {
	char *data; /* owned */
	size_t used, size;
};

enum transfer_end {
	END_NONE,     /* not yet */
	END_CURL,     /* as transfer.code says; CURLE_OK: complete */
	END_STALLED,  /* only `stalled_bytes` in stall_timeout_ms */
	END_SLOW,     /* as END_STALLED, and less than the budget's min_rate */
	END_OVERDUE,  /* the budget's time is over */
	END_TOO_MUCH, /* more bytes than the budget's */
	END_CROWDED,  /* no connection to the host became free in wait_timeout_ms */
	END_CANCELED,
	END_STOPPED, /* by the caller */
	END_HEADERS, /* more than HTTP_HEADERS_MAX */
	END_PRIVATE, /* is_public_only, and the peer's address is not */
	END_INTERIM, /* bytes that no final response (from 200) announces, as after a 101 */
	END_NO_MEMORY,
};

struct transfer {
	CURL *easy; /* owned */

	/* Set before the start. */
	struct curl_slist *headers; /* owned; lent to easy */
	char *origin;		    /* owned; "https://host:443" */
	char *host_key;		    /* owned; the host whose connections are counted */
	bool is_tls;
	int unix_socket;	/* owned; an O_PATH descriptor; -1: connect by address */
	bool is_public_only;	/* refuse a peer whose address is not public */
	bool takes_any_address; /* even one that did not answer before */
	int64_t connect_timeout_ms;
	int64_t stall_timeout_ms;
	int64_t wait_timeout_ms;    /* for a connection to become free */
	struct http_budget *budget; /* borrowed; NULL: none */

	/* The engine's thread writes these until the end. */
	bool has_avoided;   /* an address that did not answer before */
	bool is_requested;  /* there is a connection, and the request is on its way */
	bool is_resuming;   /* curl hands over what it held during a pause */
	bool is_discarding; /* … and that is thrown away */
	uint64_t received_bytes;
	int64_t besides; /* charged, and not received as headers or body, or not yet */
	size_t headers_bytes;
	struct http_response response; /* constant once has_headers is set */
	char error[CURL_ERROR_SIZE];
	CURLcode code;
	uint64_t stalled_bytes;
	enum transfer_end failed; /* why a callback of curl ended the transfer */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct transfer_buffer filling; /* guarded by lock */
	bool has_headers;		/* guarded by lock */
	bool is_paused;			/* guarded by lock; written by the engine's thread alone */
	enum transfer_end end;		/* guarded by lock */

	struct transfer_buffer drained; /* the caller's */
	bool headers_taken;		/* the caller's */
};

int transfer_init(struct transfer *transfer, struct err *err);
/* libcurl connects to the address that is left in *address. A transfer by way of a Unix socket goes
 * through the descriptor: the path could lead nowhere from here. */
void transfer_set_address(const struct transfer *transfer, struct curl_sockaddr *address);
/* Can the handle of a transfer that has ended be used for another one? */
bool transfer_is_reusable(const struct transfer *transfer);
/* Drops everything that belongs to one request; the handle keeps its TLS sessions. */
void transfer_clear(struct transfer *transfer);
void transfer_release(struct transfer *transfer);

/* ---- the caller ---- */

enum transfer_event { TRANSFER_HEADERS, TRANSFER_BODY, TRANSFER_END };

/* Blocks until there is something new. TRANSFER_HEADERS comes at most once, and first; the bytes of
 * TRANSFER_BODY are valid until the next call; TRANSFER_END is the last. *ret_is_paused: the engine
 * has to resume the transfer, now that a buffer is empty. */
enum transfer_event transfer_next(struct transfer *transfer, const void **ret_data, size_t *ret_len,
				  bool *ret_is_paused);

/* Blocks until the transfer has ended. */
void transfer_join(struct transfer *transfer);

/* ---- the engine's thread ---- */

/* Bytes that have arrived besides those of the functions below: negative ones were counted before.
 * False if the budget is spent. */
bool transfer_charge(struct transfer *transfer, int64_t bytes);

/* One header line, the empty one at the end and trailers included. Returns what a
 * CURLOPT_HEADERFUNCTION returns. */
size_t transfer_put_header(struct transfer *transfer, const char *line, size_t len);

/* A piece of the body. Returns what a CURLOPT_WRITEFUNCTION returns. */
size_t transfer_put_body(struct transfer *transfer, const char *data, size_t len);

/* After a pause. Anything but CURLE_OK: bytes are lost, and the transfer has to end with that. */
CURLcode transfer_resume(struct transfer *transfer);

/* Takes from curl, and drops, what it holds of a paused transfer that is about to end. */
void transfer_discard(struct transfer *transfer);

/* Wakes the caller, who may free the transfer at once. */
void transfer_finish(struct transfer *transfer, enum transfer_end end);

#endif
