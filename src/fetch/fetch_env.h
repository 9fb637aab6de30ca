/*
 * fetch_env: what all updates of a worker share.
 */
#ifndef FETCH_FETCH_ENV_H
#define FETCH_FETCH_ENV_H

#include "base/cancel.h"
#include "base/err.h"
#include "fetch/origin_places.h"
#include "store/store.h"
#include "term/term.h"

struct helper;
struct http;

struct fetch_env {
	struct store *store;
	struct http *http;
	struct helper *helper; /* for fetchers; NULL: there is none */
	struct cancel *cancel;
	struct origin_places *places;

	/* Makes the term's name point to the snapshot (takes the reference; NULL removes the name),
	 * and returns when every new look-up sees it. After a failure the name still points to the
	 * same snapshot as before. Called from update threads. */
	int (*publish)(void *arg, struct term *term, struct snapshot *snapshot, struct err *err);
	void *publish_arg;
};

#endif
