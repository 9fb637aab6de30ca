/*
 * worker_internal: everything that a worker is made of.
 */
#ifndef WORKER_WORKER_INTERNAL_H
#define WORKER_WORKER_INTERNAL_H

#include <pthread.h>

#include "base/cancel.h"
#include "control/control.h"
#include "keeper/channel.h"
#include "helper/helper.h"
#include "worker/worker.h"
#include "http/http.h"
#include "fetch/refresher.h"
#include "mount/view/fs.h"
#include "mount/publish/headroom.h"
#include "mount/connection/notifier.h"
#include "mount/connection/slots.h"
#include "mount/publish/visitor.h"
#include "store/store.h"
#include "term/term.h"

/* In the order in which it is built. */
struct worker {
	const struct worker_setup *setup;
	struct cancel cancel;
	struct channel_message hello; /* with the descriptors, owned */
	struct notifier *notifier;    /* forked first, while there is one thread and no sandbox */
	struct headroom *headroom;    /* opened while it can be */
	struct visitor *visitor;
	struct slots *slots;
	struct helper *helper;
	int signals; /* owned: signalfd */
	struct config *config;
	_Atomic int64_t serving_ms; /* since when; clock_boot_ms(); 0: not yet */
	pthread_t pulse;
	bool pulse_started;
	struct store *store;
	struct term *terms; /* n_terms are initialised */
	size_t n_terms;
	uint32_t last_slot; /* of all terms that the store knows */
	char **tokens;	    /* what the store has of each term, for refresher_new() */
	uint64_t *fingerprints;
	struct fs_virtual virtuals[2]; /* .rpt/ */
	struct fs *fs;
	struct http *http;
	struct refresher *refresher;
	struct control_view view;
	char keeper_version[BUILD_VERSION_SIZE]; /* after an upgrade of it */
	struct control *control;
	pthread_t watcher;
	bool watcher_started;

	/* Readers of .rpt/ and whoever finds corrupt bytes may come before all is built. */
	pthread_mutex_t lock;
	pthread_cond_t furnished_cond;
	bool is_furnished; /* guarded by lock: view and refresher are there */
};

/* Whoever needs `view` while a successor is still at work waits a moment; -1 if it ends first. */
int worker_wait_for_view(struct worker *worker, struct err *err);

/* ---- worker_terms.c: from the store and the configuration ---- */

/* Opens the store. ERR_BAD_DATA: the mount cannot be taken over with it. */
int worker_open_store(struct worker *worker, struct err *err);
int worker_load_terms(struct worker *worker, struct err *err);
void worker_drop_tokens(struct worker *worker);

/* ---- worker_watch.c: what the worker is told, and that it lives ---- */

int worker_block_signals(struct worker *worker, struct err *err);
/* Signs of life to the keeper, until cancellation. */
int worker_start_pulse(struct worker *worker, struct err *err);
/* Requests cancellation when there is a reason to end; meanwhile does what the keeper asks for. */
int worker_start_watcher(struct worker *worker, struct err *err);
/* As control_view.upgrade. */
int worker_ask_upgrade(void *arg, int connection, struct err *err);

#endif
