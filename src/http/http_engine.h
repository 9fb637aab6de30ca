/*
 * http_engine: the thread that drives all transfers. Internal to http*.c.
 *
 * The life of a transfer, as its caller sees it:
 *
 *	engine_open ─► http_setup ─► engine_start ─► engine_wait … ─► TRANSFER_END ─► engine_close
 *	                                  └─► engine_stop ───────────────────────────────┘
 *
 * Locks are leaves: no thread holds two.
 */
#ifndef HTTP_HTTP_ENGINE_H
#define HTTP_HTTP_ENGINE_H

#include <stddef.h>

#include "http/http.h"
#include "http/http_ca.h"
#include "http/http_transfer.h"

int engine_open(struct http *http, struct transfer **ret, struct err *err);
/* The transfer was not started, or has ended. NULL is allowed. */
void engine_close(struct transfer *transfer);

void engine_start(struct transfer *transfer);

/* See transfer_next(). */
enum transfer_event engine_wait(struct transfer *transfer, const void **ret_data, size_t *ret_len);

/* Ends it, and returns when it has ended. */
void engine_stop(struct transfer *transfer);

struct helper *engine_helper(struct http *http);
struct http_cas *engine_cas(struct http *http);
struct http_resolver *engine_resolver(struct http *http);

#endif
