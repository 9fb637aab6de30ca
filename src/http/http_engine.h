/*
 * http_engine: the thread that drives all transfers, and a transfer as its caller sees it.
 *
 * Internal to http*.c. The life of a transfer:
 *
 *	transfer_new ─► (options are set) ─► transfer_start ─► transfer_wait … ─► TRANSFER_END
 *	                                                          └─► transfer_stop ─┤
 *	                                                                             └─►
 *transfer_free
 *
 * The curl handle belongs to the caller before transfer_start() and after the end, in between to
 * the engine's thread. Locks are leaves: no thread holds two.
 */
#ifndef HTTP_HTTP_ENGINE_H
#define HTTP_HTTP_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "http/http.h"
#include "http/http_ca.h"
#include "http/http_host.h"

/*
 * The body is handed over in two buffers of about this size: one is filled by the engine while the
 * other is read by the caller. When it is full the transfer is paused. With HTTP/2 that does not
 * stop the server: libcurl announces a window of 32 MiB for each stream, holds what comes, and
 * gives up at 64 MiB. So bodies that are announced to be larger than the buffer for HTTP/2 are
 * asked for again with HTTP/1.1 (see http.c), and only those of unknown length are ever paused.
 */
#define TRANSFER_BUFFER_MAX	  (1024 * 1024)
#define TRANSFER_BUFFER_HTTP2_MAX (4 * 1024 * 1024)

struct http_field {
	const char *name, *value;
};

struct http_response {
	int status;
	bool is_http2;
	bool is_framed;
	int64_t length;		   /* -1: not announced */
	struct http_field *fields; /* owned, with the text that they point to behind them */
	size_t n_fields;
};

struct transfer_buffer {
	char *data; /* owned */
	size_t used, size;
};

enum transfer_end {
	END_NONE,    /* not yet */
	END_CURL,    /* as transfer.code says; CURLE_OK: complete */
	END_STALLED, /* only `stalled_bytes` in stall_timeout_ms */
	END_CROWDED, /* no connection to the host became free in wait_timeout_ms */
	END_CANCELED,
	END_STOPPED, /* transfer_stop() */
	END_HEADERS, /* more than HTTP_HEADERS_MAX */
	END_NO_MEMORY,
};

struct transfer {
	struct http *http; /* borrowed; constant */

	/* The caller's before the start and after the end, the engine thread's in between. */
	CURL *easy;		    /* owned */
	struct curl_slist *headers; /* owned; what easy was given */
	char *origin;		    /* owned; "https://host:443" */
	char *host_key;		    /* owned; whose connections are counted */
	bool is_tls;
	int64_t stall_timeout_ms;
	int64_t wait_timeout_ms; /* for a connection to become free */
	struct http_ticket ticket;
	bool is_resuming;    /* what curl holds is being taken */
	bool is_discarding;  /* … and thrown away */
	bool is_requested;   /* there is a connection, and the request is on its way */
	bool is_unstartable; /* curl would not take it */
	int64_t deadline_ms; /* of waiting, then of the stall window */
	uint64_t received_bytes, window_bytes;
	size_t headers_bytes;
	struct http_response response; /* from has_headers on constant, and anybody's */
	char error[CURL_ERROR_SIZE];
	CURLcode code;
	uint64_t stalled_bytes;
	enum transfer_end failed; /* set by a callback that refuses to go on */
	struct transfer *prev, *next;

	/* Guarded by the engine's lock. */
	unsigned asked;
	bool is_finished;
	struct transfer *asked_prev, *asked_next;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct transfer_buffer filling; /* guarded by lock */
	bool has_headers;		/* guarded by lock */
	bool is_paused;			/* guarded by lock; written by the engine's thread alone */
	enum transfer_end end;		/* guarded by lock */

	struct transfer_buffer drained; /* the caller's */
	bool headers_taken;		/* the caller's */
};

enum transfer_event { TRANSFER_HEADERS, TRANSFER_BODY, TRANSFER_END };

int transfer_new(struct http *http, struct transfer **ret, struct err *err);
/* Not started, or ended. */
void transfer_free(struct transfer *transfer);
void transfer_start(struct transfer *transfer);

/* Blocks until there is something new. TRANSFER_HEADERS comes at most once, and first; the bytes of
 * TRANSFER_BODY are valid until the next call; TRANSFER_END is the last. */
enum transfer_event transfer_wait(struct transfer *transfer, const void **ret_data,
				  size_t *ret_len);

/* Ends it, and returns when it has ended. */
void transfer_stop(struct transfer *transfer);

/* ---- between http_transfer.c and http_engine.c ---- */

#define ASK_START  1u
#define ASK_RESUME 2u
#define ASK_STOP   4u

/* Any thread: asks the engine's for something. Without effect once the transfer has ended. */
void engine_ask(struct http *http, struct transfer *transfer, unsigned what);

/* The pool of transfers that ended: NULL if it is empty, false if it is full. */
struct transfer *engine_take(struct http *http);
bool engine_keep(struct http *http, struct transfer *transfer);

struct http_cas *engine_cas(struct http *http);

/* From curl's callbacks. */
void engine_requested(struct http *http, struct transfer *transfer);
void engine_multiplexed(struct http *http, struct transfer *transfer);
/* CURLOPT_CLOSESOCKETFUNCTION; arg is the struct http. */
int engine_close_socket(void *arg, curl_socket_t fd);

void transfer_destroy(struct transfer *transfer);
/* The engine's thread: goes on after a pause; is ready to leave curl; tells the caller that it is
 * over. */
void transfer_resume(struct transfer *transfer);
void transfer_discard(struct transfer *transfer);
void transfer_finish(struct transfer *transfer, enum transfer_end end);

#endif
