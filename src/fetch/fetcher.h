/*
 * fetcher: what a kind of source has to provide. fetchers/README.md says how to write one.
 *
 * A fetcher is plain blocking code. It never retries, sleeps, schedules, decompresses, caches, or
 * logs above debug: the engine around it does. Its functions are called for one source by one
 * thread at a time, for different sources by many. They must return soon after ctx->cancel was
 * requested, with ERR_CANCELED.
 *
 * What a fetcher leaves out the engine fills in (see fetch/update.c): without download_if_changed
 * it asks current_version and then download; without current_version it downloads.
 */
#ifndef FETCH_FETCHER_H
#define FETCH_FETCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/err.h"
#include "config/option.h"
#include "config/source.h"

/* Bytes of a version token with its NUL; a source's token that is longer must be left out. */
#define VERSION_SIZE 512

/* The token by which a source tells versions apart; empty: the source has none, and the digest of
 * the bytes stands in for it. */
struct version {
	char token[VERSION_SIZE];
};

/* The user's view of a token: an ETag without quotes and W/. ret holds VERSION_SIZE. */
const char *version_display(const char *token, char ret[VERSION_SIZE]);

/* May a text from outside be a token? Not NULL, empty, too long, nor with control characters. */
bool version_is_usable(const char *text);

#define FETCHED_UNKNOWN (-1)

/* What one response said about itself. The engine sets all to unknown before each call. */
struct fetched {
	struct version version;	  /* of exactly these bytes */
	int64_t last_modified_ms; /* wall clock */
	int64_t order_key;	/* larger is newer; the engine takes last_modified_ms if unknown */
	int64_t fresh_for_ms;	/* the source wants to be asked again after this time */
	int64_t retry_after_ms; /* set with failures too */
	char content_type[128]; /* empty: unknown */
	char shown_version[VERSION_SIZE]; /* as people know it; empty: the token */
};

enum fetch_result {
	FETCH_UPDATED,	 /* bytes were written to the sink, all of them */
	FETCH_UNCHANGED, /* still the version that `have` names */
	FETCH_FAILED,	 /* *err says why */
};

/*
 * Where bytes go. Writing may block on the disk. A failure (ERR_BAD_DATA over the term's max_size,
 * ERR_INTERNAL for the disk) must end the download and be handed up as it is.
 */
struct sink;

/* The announced length of the whole content: refuses at once what would be too large, or too small.
 */
int sink_expect(struct sink *sink, uint64_t size_bytes, struct err *err);
int sink_write(struct sink *sink, const void *data, size_t len, struct err *err);

/*
 * Going on with an interrupted download. A fetcher that could continue says so with
 * sink_resumable(), before the first write: `validator` is whatever it needs to be sure that the
 * rest belongs to the same version. It may say more when it fails, such as the state of a checksum.
 * If the download fails half-way, the next attempt finds the bytes in place: sink_offset() tells
 * how many, *ret_validator (borrowed) is what it said last. It may go on writing behind them, or
 * drop them with sink_restart(). An offset of 0 means: from the beginning.
 */
void sink_resumable(struct sink *sink, const char *validator);
uint64_t sink_offset(const struct sink *sink, const char **ret_validator);
int sink_restart(struct sink *sink, struct err *err);

struct http;
struct helper;

/* What the engine lends to a fetcher for one call. */
struct fetch_ctx {
	struct cancel *cancel;
	struct http *http;     /* the one HTTP engine */
	struct helper *helper; /* base/helper.h; NULL: none */
};

struct fetcher_ops {
	/* Name, help, options, init, free, describe, helper. */
	struct source_type type;

	int (*current_version)(void *state, struct fetch_ctx *ctx, struct version *ret,
			       struct err *err);
	/* Required. */
	int (*download)(void *state, struct fetch_ctx *ctx, struct sink *sink, struct fetched *ret,
			struct err *err);
	/* have is never empty. ret is filled for FETCH_UNCHANGED as well (a 304 has headers). */
	enum fetch_result (*download_if_changed)(void *state, struct fetch_ctx *ctx,
						 const struct version *have, struct sink *sink,
						 struct fetched *ret, struct err *err);

	/* Push: an absolute path whose change (inotify, of the file or of its name in its
	 * directory) means that the source should be asked at once. Lives as long as the state. */
	const char *(*watched_path)(void *state);

	/* Which host's slowness this source shares with others ("https://example.com:443"): the
	 * engine bounds how many updates wait for one origin. NULL (the function or its result):
	 * none. Lives as long as the state. */
	const char *(*origin)(void *state);
};

/* The ops that a type, or the type of a source, is part of. */
static inline const struct fetcher_ops *fetcher_of_type(const struct source_type *type)
{
	return (const struct fetcher_ops *)(const void *)((const char *)type -
							  offsetof(struct fetcher_ops, type));
}

static inline const struct fetcher_ops *fetcher_of(const struct source *source)
{
	return fetcher_of_type(source->type);
}

#endif
