/*
 * inflight: the state of a FUSE connection that outlives the worker serving it, in a memfd.
 *
 * The keeper creates the memfd and holds it; each worker maps it. The kernel copies every request
 * directly into a record of the mapping, so no request is lost when a worker dies. A record is
 * occupied while the header that the kernel wrote has a nonzero `unique`. It is cleared after the
 * reply has been written. A successor finds the remaining requests and answers them. If one has
 * already been answered, the kernel returns ENOENT for the second reply, which is harmless.
 *
 * The memfd also holds the INIT request and its reply, with which a successor negotiates again; the
 * number of the mount in the store; and the snapshots that the publisher announced last.
 *
 * inflight_claim() to inflight_clear() are for the session of the one worker that serves. They may
 * be called from any thread; only that process knows which records are claimed. All other functions
 * may be called by any process that holds the memfd. The content of the memfd is only as
 * trustworthy as the worker that wrote it: each length is read once and checked before it is used.
 *
 * The layout must stay as it is, or its version must change: an upgraded program takes over the
 * memfd of the program before it.
 */
#ifndef MOUNT_CONNECTION_INFLIGHT_H
#define MOUNT_CONNECTION_INFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/util.h"

#define INFLIGHT_MAX 1024

/* Enough for every request except WRITE and large SETXATTR, which a read-only mount does not get.
 * The kernel rejects a smaller buffer. */
#define INFLIGHT_RECORD_SIZE 8192

struct inflight;

/* Returns a blank memfd of fixed size for a new connection; the caller owns it. Allocates
 * nothing. */
int inflight_make(struct err *err);

/* memfd is borrowed and may be closed afterwards. ERR_BAD_DATA: it was made by a program
 * with another layout. */
int inflight_map(struct inflight **ret, int memfd, struct err *err);
/* NULL is allowed. No other call may be under way. */
void inflight_unmap(struct inflight *inflight);

DEFINE_CLEANUP(struct inflight, inflight_unmap)

/* The number of this mount in the store (store/store.h); 0 until a worker has set it. */
uint64_t inflight_mount(const struct inflight *inflight);
void inflight_set_mount(struct inflight *inflight, uint64_t mount);

/* Announced: the kernel knows that the snapshot is the current one of its term, or learns it from
 * the reply to a RENAME. A successor announces those for which inflight_was_announced() is false,
 * which can only be recent ones. Snapshots that existed before the mount was first served, up to
 * the id of inflight_set_first(), need no announcement. */
void inflight_set_first(struct inflight *inflight, uint64_t id);
/* Called before a name is moved to the snapshot by a notification: from then on readers may see it,
 * announced or not. One at a time. */
void inflight_note_showing(struct inflight *inflight, uint64_t id);
void inflight_note_announced(struct inflight *inflight, uint64_t id);
bool inflight_was_announced(const struct inflight *inflight, uint64_t id);
/* Announced, or showing. */
bool inflight_may_be_known(const struct inflight *inflight, uint64_t id);

/* A hash of the attributes that the kernel was last shown; 0: none. */
uint64_t inflight_attributes(const struct inflight *inflight);
void inflight_set_attributes(struct inflight *inflight, uint64_t attributes);

/* The kernel has, or may have, read the reply to INIT: a worker that maps the memfd takes over. */
bool inflight_negotiated(const struct inflight *inflight);

/* How long the oldest request other than READ has waited for its reply, at clock_boot_ms() ==
 * now_ms; 0 if there is none. For a watchdog in any process. Does not block. */
int64_t inflight_oldest_ms(const struct inflight *inflight, int64_t now_ms);

/* For tests: how many requests were received and not answered yet. */
size_t inflight_occupied(const struct inflight *inflight);

/* ---- for the session ---- */

/* INIT. Immutable once saved; saving too many bytes is an error. Saving the reply makes
 * inflight_negotiated() true. */
const void *inflight_init_request(const struct inflight *inflight,
				  size_t *ret_len);				   /* NULL: none */
const void *inflight_init_reply(const struct inflight *inflight, size_t *ret_len); /* NULL: none */
int inflight_save_init_request(struct inflight *inflight, const void *request, size_t len);
int inflight_save_init_reply(struct inflight *inflight, const void *reply, size_t len);

/* Finds the requests that a predecessor left. Call this once, before the first claim.
 * inflight_inherited() then hands out each of them once: it copies the request to `buf` and returns
 * its record, claimed; -1 when none is left. A request of more than `size` bytes is dropped. */
void inflight_inherit(struct inflight *inflight);
int inflight_inherited(struct inflight *inflight, void *buf, size_t size, size_t *ret_len);

/* Claims the lowest free record. Its first page is resident, so that the kernel's copy cannot fail.
 * Waits while all are taken. Returns -1 with errno EINTR after a signal. This is a cancellation
 * point, at which the thread holds nothing. */
int inflight_claim(struct inflight *inflight);
void *inflight_buffer(struct inflight *inflight, int record); /* INFLIGHT_RECORD_SIZE bytes */

/* False for FORGET and the like. */
bool inflight_expects_reply(uint32_t opcode);

/* A request that expects a reply was read into the record. */
void inflight_taken(struct inflight *inflight, int record, uint64_t unique, uint32_t opcode);
/* Makes the record blank and free again. */
void inflight_clear(struct inflight *inflight, int record);
/* The reply to this request was written: clears its record, if there is one. */
void inflight_answered(struct inflight *inflight, uint64_t unique);

#endif
