/*
 * fetcher: the contract of a kind of source. fetchers/README.md says how to write one.
 *
 * A fetcher is plain blocking code. It never retries, sleeps, schedules, decompresses, caches, or
 * logs above debug: the engine around it does. Its functions are called by one thread at a time for
 * one source, and by many threads for different sources. They must return ERR_CANCELED soon after
 * ctx->cancel was requested.
 *
 * Functions may be left out (see fetch/attempt.c): without download_if_changed the engine calls
 * current_version and then download, without current_version just download.
 */
#ifndef FETCH_FETCHER_H
#define FETCH_FETCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/cancel.h"
#include "base/err.h"
#include "config/option.h"
#include "config/source.h"

/* Bytes of a version token, and of the notes on a version, with their NUL. */
#define VERSION_SIZE	   512
#define VERSION_NOTES_SIZE 256

struct version {
	/* By which a source tells versions apart. Empty: the source has none, and the digest of the
	 * bytes is used instead. */
	char token[VERSION_SIZE];
	/* What the fetcher wants to know again when it is asked for a newer version; one line, kept
	 * with the token. Empty: nothing. */
	char notes[VERSION_NOTES_SIZE];
	/* When the source last sent the bytes; wall clock; 0: not noted. The engine's. */
	int64_t sent_at_ms;
};

/* A version as one text, for the store: its token, notes and sent_at_ms, a line each as far as they
 * are there. Empty without a token. */
#define VERSION_TEXT_SIZE (VERSION_SIZE + VERSION_NOTES_SIZE + 24)
const char *version_text(const struct version *version, char ret[VERSION_TEXT_SIZE]);
void version_read(struct version *ret, const char *text);

/* The token of such a text for messages: an ETag in ASCII, without quotes and W/. Returns
 * ret. */
const char *version_display(const char *text, char ret[VERSION_SIZE]);

/* Whether a text from outside can be a token: not NULL, empty, too long, or with control
 * characters. */
bool version_is_usable(const char *text);

#define FETCHED_UNKNOWN (-1)

/* The metadata of one response. The engine sets everything to unknown before each call. */
struct fetched {
	struct version version;	       /* of exactly these bytes */
	struct timespec last_modified; /* wall clock; CLOCK_NO_TIME: unknown */
	int64_t order_key;	/* larger is newer; the engine takes last_modified if unknown */
	int64_t fresh_for_ms;	/* the source asks for the next request after this time */
	int64_t retry_after_ms; /* set with failures too */
	char content_type[128]; /* empty: unknown */
	char shown_version[VERSION_SIZE]; /* for messages; empty: the token */
};

enum fetch_result {
	FETCH_UPDATED,	 /* all bytes were written to the sink */
	FETCH_UNCHANGED, /* still the version that `have` names */
	FETCH_FAILED,	 /* *err says why */
};

/*
 * Takes the bytes. Writing may block on the disk. A failure (ERR_BAD_DATA above the term's
 * max_size, ERR_INTERNAL for the disk, ERR_UNREACHABLE after the attempt_timeout) must end the
 * download and be returned as it is.
 */
struct sink;

/* The announced length of the whole content: fails if that is too large or too small. */
int sink_expect(struct sink *sink, uint64_t size_bytes, struct err *err);
int sink_write(struct sink *sink, const void *data, size_t len, struct err *err);

/*
 * Resuming an interrupted download. A fetcher that can resume calls sink_resumable() before the
 * first write: `validator` is what it needs to be sure that the rest belongs to the same version.
 * It may call it again when it fails, for example with the state of a checksum. If the download
 * fails half-way, the next attempt finds the bytes in place: sink_offset() returns how many, and
 * *ret_validator (borrowed) is the last validator. The fetcher appends to them, or drops them with
 * sink_restart(). An offset of 0 means a download from the beginning.
 */
void sink_resumable(struct sink *sink, const char *validator);
uint64_t sink_offset(const struct sink *sink, const char **ret_validator);
int sink_restart(struct sink *sink, struct err *err);

struct http;
struct http_budget;
struct helper;

/* The environment of one call of a fetcher; borrowed from the engine. */
struct fetch_ctx {
	struct cancel *cancel;
	struct http *http;	    /* the one HTTP engine */
	struct http_budget *budget; /* of this attempt, for all its requests; NULL: none */
	struct helper *helper;	    /* base/helper.h; NULL: none */
};

struct fetcher_ops {
	/* Name, help, options, init, free, describe, helper. */
	struct source_type type;

	int (*current_version)(void *state, struct fetch_ctx *ctx, struct version *ret,
			       struct err *err);
	/* Required. */
	int (*download)(void *state, struct fetch_ctx *ctx, struct sink *sink, struct fetched *ret,
			struct err *err);
	/* have->token is never empty. ret is filled for FETCH_UNCHANGED as well (a 304 has
	 * headers): its notes replace those of the version, unless its token is empty. */
	enum fetch_result (*download_if_changed)(void *state, struct fetch_ctx *ctx,
						 const struct version *have, struct sink *sink,
						 struct fetched *ret, struct err *err);

	/* Push: an absolute path. The source is asked at once when the file, or its name in its
	 * directory, changes (inotify). Lives as long as the state. */
	const char *(*watched_path)(void *state);

	/* The source's origin ("https://example.com:443"), which other sources may share. The
	 * engine limits how many updates wait for one origin at a time. NULL (the function or its
	 * result): none. Lives as long as the state. */
	const char *(*origin)(void *state);
};

/* The ops that the source's type is part of. */
static inline const struct fetcher_ops *fetcher_of(const struct source *source)
{
	return (const struct fetcher_ops *)(const void *)((const char *)source->type -
							  offsetof(struct fetcher_ops, type));
}

#endif
