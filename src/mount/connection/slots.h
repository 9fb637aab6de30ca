/*
 * slots: what of a FUSE connection outlives the worker that serves it, in a memfd.
 *
 * The keeper makes the memfd and holds it; each worker maps it. The kernel copies every request
 * straight into a slot of the mapping, so there is no moment at which a request was taken and only
 * the dead worker knew it: a slot is occupied when the header that the kernel wrote there has a
 * `unique`, and it is cleared once the reply was written. A successor finds the requests that were
 * left, and answers them; one that had been answered after all gets ENOENT, which does no harm.
 *
 * Besides: the INIT request and the reply to it, with which a successor negotiates again; the
 * number of the mount in the store; what the publisher has announced last.
 *
 * slots_claim() … slots_clear() belong to the session of the one worker that serves; they may be
 * called from any thread, and which slots are claimed is known to that process alone. Everything
 * else may be called by any process that holds the memfd. What stands in the memfd is only as
 * trustworthy as the worker that wrote it: lengths are checked before they are believed.
 */
#ifndef MOUNT_CONNECTION_SLOTS_H
#define MOUNT_CONNECTION_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/util.h"

#define SLOTS_MAX 1024

/* Enough for every request but WRITE and large SETXATTR, which a read-only mount does not have; the
 * kernel refuses to write into less. */
#define SLOT_SIZE 8192

struct slots;

/* A blank memfd of fixed size for a new connection; the caller's. Allocates nothing. */
int slots_make(struct err *err);

/* memfd is borrowed and may be closed afterwards. ERR_BAD_DATA: it was made by a program that has
 * another idea of its content. */
int slots_map(struct slots **ret, int memfd, struct err *err);
/* NULL is allowed. No other call may be under way. */
void slots_unmap(struct slots *slots);

DEFINE_CLEANUP(struct slots, slots_unmap)

/* The number under which the store knows this mount (store/store.h); 0 until a worker has set it. */
uint64_t slots_mount(const struct slots *slots);
void slots_set_mount(struct slots *slots, uint64_t mount);

/* The kernel knows that this snapshot is the current one of its term, or is about to be told by the
 * reply to its RENAME. A successor asks what it has to announce: false for the last ones only, if
 * they were not. What was there before a mount was served for the first time needs no announcement:
 * those up to slots_set_first()'s id. */
void slots_set_first(struct slots *slots, uint64_t id);
/* Noted before its name leads to the snapshot by a notification: from then on readers may see it,
 * whether it was announced or not. One at a time. */
void slots_note_showing(struct slots *slots, uint64_t id);
void slots_note_announced(struct slots *slots, uint64_t id);
bool slots_was_announced(const struct slots *slots, uint64_t id);
/* Announced, or showing. */
bool slots_may_be_known(const struct slots *slots, uint64_t id);

/* A number for the attributes that were last shown to the kernel; 0: none were. */
uint64_t slots_attributes(const struct slots *slots);
void slots_set_attributes(struct slots *slots, uint64_t attributes);

/* The kernel has read the reply to INIT, or may have: a worker that maps the memfd takes over. */
bool slots_negotiated(const struct slots *slots);

/* For how long the oldest request that is no READ has waited for its reply, at clock_boot_ms() ==
 * now_ms; 0 if there is none. Does not block, for a watchdog in any process. */
int64_t slots_oldest_ms(const struct slots *slots, int64_t now_ms);

/* How many requests are taken and unanswered. */
size_t slots_occupied(const struct slots *slots);

/* ------------------------------------------------------------------ for session.c */

/* INIT. What is saved is immutable from then on; saving what is too large is an error. Saving the
 * reply makes slots_negotiated() true. */
const void *slots_init_request(const struct slots *slots, size_t *ret_len); /* NULL: none */
const void *slots_init_reply(const struct slots *slots, size_t *ret_len);   /* NULL: none */
int slots_save_init_request(struct slots *slots, const void *request, size_t len);
int slots_save_init_reply(struct slots *slots, const void *reply, size_t len);

/* Once, before the first claim: what a predecessor left is found, and handed out by
 * slots_inherited(), each slot once, claimed; -1 when there is none (left). */
void slots_inherit(struct slots *slots);
int slots_inherited(struct slots *slots);

/* The lowest free slot, its first page resident, so that the kernel's copy cannot fail. Waits while
 * all are taken; -1 with errno EINTR when a signal came. A cancellation point that holds nothing.
 */
int slots_claim(struct slots *slots);
void *slots_buffer(struct slots *slots, int slot); /* SLOT_SIZE bytes */

/* A request that needs a reply was read into the slot. */
void slots_taken(struct slots *slots, int slot);
/* The slot is blank and free again. */
void slots_clear(struct slots *slots, int slot);
/* The reply to this request was written: its slot is cleared, if there is one. */
void slots_answered(struct slots *slots, uint64_t unique);

#endif
