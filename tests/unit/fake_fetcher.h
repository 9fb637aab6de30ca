/*
 * fake_fetcher: sources that answer as a test wants, and a real store.
 */
#ifndef TESTS_UNIT_FAKE_FETCHER_H
#define TESTS_UNIT_FAKE_FETCHER_H

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fetch/update.h"
#include "store/store.h"
#include "tap.h"

struct fake {
	const char *name;
	const char *origin;
	const char *path;

	/* What it answers. */
	_Atomic enum err_kind fails; /* ERR_NONE: it answers */
	const char *_Atomic token;   /* NULL: none */
	const char *notes;	     /* on the version; NULL: none, and "unchanged" does not say */
	const char *body;	     /* NULL: body_bytes of 'x' */
	size_t body_bytes;
	size_t breaks_after; /* bytes; 0: does not */
	int64_t last_modified_ms;
	int64_t fresh_for_ms;
	int64_t retry_after_ms;
	atomic_bool blocks;	/* as long as it is set, or until cancellation */
	struct cancel *cancels; /* requested when the source blocks; NULL: nothing is */

	/* What it was asked. */
	atomic_uint calls;
	atomic_uint downloads; /* that began */
	atomic_uint waiting;   /* blocked now */
	char have[VERSION_SIZE];
	char have_notes[VERSION_NOTES_SIZE];
	_Atomic int64_t asked_at_ms; /* the last time; clock_boot_ms() */
	uint64_t offset;	     /* at which the last download began */
};

static inline int fake_wait(struct fake *fake, struct fetch_ctx *ctx, struct err *err)
{
	struct pollfd pfd = { .fd = ctx->cancel->fd, .events = POLLIN };

	atomic_fetch_add(&fake->waiting, 1);
	if (fake->cancels)
		cancel_request(fake->cancels);
	while (atomic_load(&fake->blocks) && !cancel_requested(ctx->cancel))
		poll(&pfd, 1, 2);
	atomic_fetch_sub(&fake->waiting, 1);
	if (cancel_requested(ctx->cancel))
		return err_set(err, ERR_CANCELED, "%s: canceled", fake->name);
	return 0;
}

static inline int fake_write(struct fake *fake, struct sink *sink, struct err *err)
{
	char block[4096];
	size_t size = fake->body ? strlen(fake->body) : fake->body_bytes;
	const char *validator = NULL;

	fake->offset = sink_offset(sink, &validator);
	if (fake->offset && (!fake->token || strcmp(validator, fake->token) != 0)) {
		fake->offset = 0;
		if (sink_restart(sink, err) < 0)
			return -1;
	}
	if (fake->breaks_after)
		sink_resumable(sink, fake->token);
	memset(block, 'x', sizeof(block));
	for (size_t at = fake->offset; at < size;) {
		size_t len = size - at < sizeof(block) ? size - at : sizeof(block);
		if (fake->breaks_after && at >= fake->breaks_after)
			return err_set(err, ERR_UNREACHABLE, "%s: cut", fake->name);
		if (sink_write(sink, fake->body ? fake->body + at : block, len, err) < 0)
			return -1;
		at += len;
	}
	return 0;
}

static inline void fake_note(const struct fake *fake, struct version *ret)
{
	snprintf(ret->notes, sizeof(ret->notes), "%s", fake->notes ? fake->notes : "");
}

static inline int fake_download(void *state, struct fetch_ctx *ctx, struct sink *sink,
				struct fetched *ret, struct err *err)
{
	struct fake *fake = state;

	atomic_store(&fake->asked_at_ms, clock_boot_ms());
	atomic_fetch_add(&fake->calls, 1);
	if (atomic_load(&fake->blocks) && fake_wait(fake, ctx, err) < 0)
		return -1;
	if (fake->token)
		snprintf(ret->version.token, sizeof(ret->version.token), "%s", fake->token);
	fake_note(fake, &ret->version);
	if (fake->last_modified_ms != FETCHED_UNKNOWN)
		ret->last_modified = clock_from_ms(fake->last_modified_ms);
	ret->fresh_for_ms = fake->fresh_for_ms;
	ret->retry_after_ms = fake->retry_after_ms;
	enum err_kind kind = atomic_load(&fake->fails);
	if (kind != ERR_NONE && kind != ERR_BAD_DATA)
		return err_set(err, kind, "%s: %s", fake->name, err_kind_name(kind));
	atomic_fetch_add(&fake->downloads, 1);
	if (kind == ERR_BAD_DATA)
		return err_set(err, kind, "%s: the body is bad", fake->name);
	return fake_write(fake, sink, err);
}

static inline enum fetch_result fake_download_if_changed(void *state, struct fetch_ctx *ctx,
							 const struct version *have,
							 struct sink *sink, struct fetched *ret,
							 struct err *err)
{
	struct fake *fake = state;
	enum err_kind kind = atomic_load(&fake->fails);

	snprintf(fake->have, sizeof(fake->have), "%s", have->token);
	snprintf(fake->have_notes, sizeof(fake->have_notes), "%s", have->notes);
	if ((kind == ERR_NONE || kind == ERR_BAD_DATA) && fake->token &&
	    strcmp(fake->token, have->token) == 0) {
		atomic_store(&fake->asked_at_ms, clock_boot_ms());
		atomic_fetch_add(&fake->calls, 1);
		if (atomic_load(&fake->blocks) && fake_wait(fake, ctx, err) < 0)
			return FETCH_FAILED;
		ret->fresh_for_ms = fake->fresh_for_ms;
		if (fake->notes)
			ret->version = *have;
		fake_note(fake, &ret->version);
		return FETCH_UNCHANGED;
	}
	return fake_download(state, ctx, sink, ret, err) < 0 ? FETCH_FAILED : FETCH_UPDATED;
}

static inline int fake_current_version(void *state, struct fetch_ctx *ctx, struct version *ret,
				       struct err *err)
{
	struct fake *fake = state;

	(void)ctx;
	(void)err;
	atomic_fetch_add(&fake->calls, 1);
	snprintf(ret->token, sizeof(ret->token), "%s", fake->token);
	return 0;
}

static inline const char *fake_describe(void *state)
{
	return ((struct fake *)state)->name;
}

static inline const char *fake_origin(void *state)
{
	return ((struct fake *)state)->origin;
}

static inline const char *fake_path(void *state)
{
	return ((struct fake *)state)->path;
}

__attribute__((unused)) static const struct fetcher_ops fake_ops = {
	.type = { .name = "fake", .describe = fake_describe },
	.download = fake_download,
	.download_if_changed = fake_download_if_changed,
	.watched_path = fake_path,
	.origin = fake_origin,
};

/* The same without conditional download. */
__attribute__((unused)) static const struct fetcher_ops plain_ops = {
	.type = { .name = "plain", .describe = fake_describe },
	.current_version = fake_current_version,
	.download = fake_download,
	.origin = fake_origin,
};

#define FAKE_INIT                                                                               \
	{                                                                                       \
		.name = "fake", .last_modified_ms = FETCHED_UNKNOWN,                            \
		.fresh_for_ms = FETCHED_UNKNOWN, .retry_after_ms = FETCHED_UNKNOWN, .body = "x" \
	}

static inline struct source fake_source(const struct fetcher_ops *ops, struct fake *fake,
					uint64_t fingerprint)
{
	return (struct source){ .type = &ops->type, .state = fake, .fingerprint = fingerprint };
}

/* A store in a directory of its own. */
struct temp_store {
	char dir[64];
	struct store *store;
};

static inline void temp_store_open(struct temp_store *temp)
{
	struct err err = ERR_INIT;

	if (!temp->dir[0]) {
		snprintf(temp->dir, sizeof(temp->dir), "/tmp/rptfs-unit-XXXXXX");
		if (!mkdtemp(temp->dir))
			abort();
	}
	_cleanup_close_ int fd = open(temp->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct store_setup setup = { .dir_fd = fd, .dir = temp->dir };
	if (store_open(&temp->store, &setup, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		abort();
	}
}

static inline void temp_store_remove(struct temp_store *temp)
{
	char command[128];

	store_close(temp->store);
	snprintf(command, sizeof(command), "rm -rf '%s'", temp->dir);
	if (system(command) != 0)
		printf("# %s stays\n", temp->dir);
}

/* Does what a publisher does, without a mount. */
__attribute__((unused)) static int fake_publish(void *arg, struct term *term,
						struct snapshot *snapshot, struct err *err)
{
	struct store *store = ((struct temp_store *)arg)->store;
	struct snapshot *previous = term_swap(term, snapshot);

	(void)err;
	if (previous)
		store_release(store, previous);
	snapshot_unref(previous);
	return 0;
}

/* Waits for a condition; the bound is for tests that hang. */
#define wait_for(condition)                                           \
	({                                                            \
		int64_t give_up_ms_ = clock_boot_ms() + 100000;       \
		while (!(condition) && clock_boot_ms() < give_up_ms_) \
			usleep(1000);                                 \
		(condition);                                          \
	})

#endif
