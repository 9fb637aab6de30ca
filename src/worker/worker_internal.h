/*
 * worker_internal: the parts of a worker.
 *
 * Each file may call those before it: worker_terms.c, worker_view.c, worker_keeper.c, worker.c.
 *
 * Runs in the worker, unprivileged.
 */
#ifndef WORKER_WORKER_INTERNAL_H
#define WORKER_WORKER_INTERNAL_H

#include <pthread.h>

#include "base/budget.h"
#include "base/cancel.h"
#include "base/helper.h"
#include "control/control.h"
#include "fetch/refresher.h"
#include "http/http.h"
#include "keeper/channel.h"
#include "mount/connection/inflight.h"
#include "mount/connection/notifier.h"
#include "mount/publish/spare_memory.h"
#include "mount/view/fs.h"
#include "mount/visitor/visitor.h"
#include "store/store.h"
#include "term/term.h"
#include "term/term_rights.h"
#include "worker/worker.h"

/* In the order in which the parts are built. */
struct worker {
	const struct worker_setup *setup;
	struct cancel cancel;
	struct channel_message hello;	   /* owned, with its descriptors */
	struct notifier *notifier;	   /* forked while there is one thread and no sandbox */
	struct spare_memory *spare_memory; /* opened before the sandbox is entered */
	struct visitor *visitor;
	struct inflight *inflight;
	struct helper *helper;
	int signals; /* owned: signalfd */
	struct config *config;
	_Atomic int64_t serving_ms; /* when it began to serve; clock_boot_ms(); 0: not yet */
	pthread_t pulse;
	bool pulse_started;
	struct store *store;
	struct term *terms; /* n_terms are initialised */
	size_t n_terms;
	uint32_t last_slot; /* the largest in the store */
	char **tokens;	    /* in the store, of each term; for refresher_new() */
	uint64_t *fingerprints;
	struct term_rights *rights;
	struct budget *budget;
	struct rendered_file rendered_files[2]; /* .rpt/ */
	struct fs *fs;
	struct http *http;
	struct refresher *refresher;
	struct control_view view;
	char keeper_version[BUILD_VERSION_SIZE]; /* after an upgrade of the keeper */
	struct control *control;
	pthread_t watcher;
	bool watcher_started;

	pthread_mutex_t lock;
	pthread_cond_t built_cond;
	bool is_built; /* guarded by lock: view and refresher are set */
};

/* ---- worker_terms.c: terms from the store and the configuration ---- */

/* ERR_BAD_DATA: the mount cannot be taken over with this store. */
int worker_open_store(struct worker *worker, struct err *err);
int worker_load_terms(struct worker *worker, struct err *err);
void worker_drop_tokens(struct worker *worker);

/* ---- worker_view.c: the contents of .rpt/, and the answers to rpt ---- */

/* Who may know which terms, and how much others may make the worker keep. */
int worker_make_rights(struct worker *worker, struct err *err);
void worker_fill_rendered_files(struct worker *worker);
void worker_fill_view(struct worker *worker);
/* From now on `view` and `refresher` may be used by any thread. */
void worker_set_built(struct worker *worker);
bool worker_is_built(struct worker *worker);
/* Blocks until then. -1 if the worker ends first. */
int worker_wait_built(struct worker *worker, struct err *err);

/* ---- worker_keeper.c: signs of life and messages ---- */

int worker_block_signals(struct worker *worker, struct err *err);
/* Starts to send signs of life to the keeper, until cancellation. */
int worker_start_pulse(struct worker *worker, struct err *err);
/* Starts to wait for a reason to end, which requests cancellation, and for messages of the
 * keeper. */
int worker_start_watcher(struct worker *worker, struct err *err);

#endif
