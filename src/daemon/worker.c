#include "daemon/worker.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "control/control.h"
#include "daemon/channel.h"
#include "daemon/daemonize.h"
#include "daemon/runner.h"
#include "daemon/runtime_dir.h"
#include "fetch/http.h"
#include "fetch/refresher.h"
#include "mount/device.h"
#include "mount/fs.h"
#include "term/store.h"
#include "term/term.h"

/* Everything that a worker is made of, in the order in which it is built. */
struct worker {
	const struct worker_setup *setup;
	const struct config *config;
	struct cancel cancel;
	int signals; /* owned: signalfd */
	struct store *store;
	struct term *terms; /* n_terms are initialised */
	size_t n_terms;
	char **tokens; /* what store_load() said of each term, for refresher_new() */
	uint64_t *fingerprints;
	char *control_path;
	struct fs_virtual virtuals[2]; /* .rpt/ */
	struct fs *fs;
	struct http *http;
	struct runner *runner;
	struct refresher *refresher;
	struct control_view view;
	struct control *control;
	pthread_t watcher;
	bool watcher_started;
	dev_t mount_number;
};

/* ------------------------------------------------------------------ signals */

static int block_signals(struct worker *worker, struct err *err)
{
	sigset_t set;

	/* SIGINT reaches the whole foreground group: the keeper acts on it, and tells us. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	worker->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (worker->signals < 0)
		return err_errno(err, "signalfd");
	return 0;
}

/* Waits for a reason to end: told so, unmounted, or left alone by the keeper. */
static void *watch(void *arg)
{
	struct worker *worker = arg;
	struct pollfd pfds[] = {
		{ .fd = worker->signals, .events = POLLIN },
		{ .fd = fs_over_fd(worker->fs), .events = POLLIN },
		{ .fd = worker->cancel.fd, .events = POLLIN },
		{ .fd = worker->setup->channel, .events = POLLIN },
	};

	pthread_setname_np(pthread_self(), "watcher");
	while (poll(pfds, ARRAY_SIZE(pfds), -1) < 0 && errno == EINTR)
		;
	if (pfds[3].revents && !pfds[0].revents && !pfds[1].revents) {
		log_event(LOG_LEVEL_ERROR, "keeper_died");
		device_unmount(worker->config->mountpoint, worker->mount_number);
	}
	cancel_request(&worker->cancel);
	return NULL;
}

static int start_watcher(struct worker *worker, struct err *err)
{
	int failure = pthread_create(&worker->watcher, NULL, watch, worker);

	if (failure)
		return err_set(err, ERR_INTERNAL, "watcher: thread: %s", strerror(failure));
	worker->watcher_started = true;
	return 0;
}

/* ------------------------------------------------------------------ terms from the store */

static int open_store(struct worker *worker, struct err *err)
{
	if (strcmp(worker->config->store, "memory") == 0)
		return store_open_memory(&worker->store, err);
	return store_open(&worker->store, worker->config->store, err);
}

static int retain_terms(struct worker *worker, struct err *err)
{
	const struct config *config = worker->config;
	_cleanup_free_ const char **names = calloc(config->n_terms + 1, sizeof(*names));

	if (!names)
		return err_set(err, ERR_INTERNAL, "terms: out of memory");
	for (size_t i = 0; i < config->n_terms; i++)
		names[i] = config->terms[i].name;
	return store_retain(worker->store, names, config->n_terms, err);
}

/* One term with what the store has of it. */
static int load_term(struct worker *worker, size_t i, struct err *err)
{
	const struct term_config *config = &worker->config->terms[i];
	struct snapshot *snapshot = NULL;
	char shown[VERSION_SIZE];

	if (store_load(worker->store, config->name, &snapshot, &worker->tokens[i],
		       &worker->fingerprints[i], err) < 0)
		return -1;
	const char *called = worker->tokens[i] ? version_display(worker->tokens[i], shown)
			     : snapshot	       ? snapshot->version
					       : NULL;
	return term_init(&worker->terms[i], config, snapshot, called, err);
}

static int load_terms(struct worker *worker, struct err *err)
{
	const struct config *config = worker->config;

	worker->terms = calloc(config->n_terms + 1, sizeof(*worker->terms));
	worker->tokens = calloc(config->n_terms + 1, sizeof(*worker->tokens));
	worker->fingerprints = calloc(config->n_terms + 1, sizeof(*worker->fingerprints));
	if (!worker->terms || !worker->tokens || !worker->fingerprints)
		return err_set(err, ERR_INTERNAL, "terms: out of memory");
	for (size_t i = 0; i < config->n_terms; i++) {
		if (load_term(worker, i, err) < 0)
			return err_prefix(err, "term \"%s\"", config->terms[i].name);
		worker->n_terms++;
	}
	return 0;
}

/* ------------------------------------------------------------------ building */

/* Corrupt bytes were dropped: they are fetched again at once. */
static void fetch_again(void *arg, struct term *term)
{
	struct worker *worker = arg;

	if (!cancel_requested(&worker->cancel))
		refresher_request(worker->refresher, (size_t)(term - worker->terms));
}

static int make_fs(struct worker *worker, struct err *err)
{
	struct fs_setup setup = {
		.terms = worker->terms,
		.n_terms = worker->n_terms,
		.store = worker->store,
		.cancel = &worker->cancel,
		.control_path = worker->control_path,
		.virtuals = worker->virtuals,
		.n_virtuals = ARRAY_SIZE(worker->virtuals),
		.lost = fetch_again,
		.lost_arg = worker,
	};

	worker->virtuals[0] = (struct fs_virtual){ "metrics", metrics_render, &worker->view };
	worker->virtuals[1] = (struct fs_virtual){ "status.json", status_render, &worker->view };
	return fs_new(&worker->fs, &setup, err);
}

static int make_refresher(struct worker *worker, struct err *err)
{
	struct refresher_setup setup = {
		.terms = worker->terms,
		.tokens = (const char *const *)worker->tokens,
		.fingerprints = worker->fingerprints,
		.n_terms = worker->n_terms,
		.env = {
			.store = worker->store,
			.http = worker->http,
			.runner = worker->runner,
			.cancel = &worker->cancel,
			.publish = fs_publish,
			.publish_arg = worker->fs,
		},
	};

	return refresher_new(&worker->refresher, &setup, err);
}

static void drop_tokens(struct worker *worker)
{
	for (size_t i = 0; worker->tokens && i < worker->config->n_terms; i++)
		free(worker->tokens[i]);
	free(steal_ptr(&worker->tokens));
	free(steal_ptr(&worker->fingerprints));
}

static void fill_view(struct worker *worker)
{
	worker->view = (struct control_view){
		.mountpoint = worker->config->mountpoint,
		.terms = worker->terms,
		.n_terms = worker->n_terms,
		.store = worker->store,
		.refresher = worker->refresher,
		.fs = worker->fs,
		.http = worker->http,
		.started_at_ms = clock_wall_ms(),
	};
}

/* Everything that can fail without the mount; nothing is asked of a source yet. */
static int prepare(struct worker *worker, struct err *err)
{
	if (cancel_init(&worker->cancel, err) < 0 || block_signals(worker, err) < 0 ||
	    open_store(worker, err) < 0 || retain_terms(worker, err) < 0 ||
	    load_terms(worker, err) < 0 ||
	    runtime_dir_socket(worker->config->mountpoint, &worker->control_path, err) < 0 ||
	    make_fs(worker, err) < 0 || http_new(&worker->http, &worker->cancel, err) < 0 ||
	    runner_new(&worker->runner, worker->setup->channel, err) < 0 ||
	    make_refresher(worker, err) < 0)
		return -1;
	drop_tokens(worker);
	fill_view(worker);
	return 0;
}

static int receive_device(struct worker *worker, struct err *err)
{
	_cleanup_close_ int device = -1;

	if (channel_send(worker->setup->channel, CHANNEL_PREPARED, -1) < 0 ||
	    channel_receive(worker->setup->channel, &device) != CHANNEL_DEVICE || device < 0)
		return err_set(err, ERR_CANCELED, "the keeper has no device to serve");
	worker->mount_number = device_number(worker->config->mountpoint);
	return fs_start(worker->fs, device, worker->setup->debug, err);
}

static int serve(struct worker *worker, struct err *err)
{
	int64_t deadline = clock_boot_ms() + worker->config->start_timeout_ms;

	if (receive_device(worker, err) < 0 || start_watcher(worker, err) < 0 ||
	    control_new(&worker->control, &worker->view, worker->control_path, geteuid(),
			&worker->cancel, err) < 0 ||
	    refresher_start(worker->refresher, err) < 0)
		return -1;
	log_event(LOG_LEVEL_INFO, "mounted", LOG_STR("mountpoint", worker->config->mountpoint),
		  LOG_INT("terms", (int64_t)worker->n_terms),
		  LOG_STR("store", worker->config->store));
	size_t waiting = refresher_wait_first(worker->refresher, deadline);
	if (waiting && !cancel_requested(&worker->cancel))
		log_event(LOG_LEVEL_WARNING, "start_timeout",
			  LOG_INT("terms_waiting", (int64_t)waiting));
	if (!worker->setup->foreground)
		daemonize_detach();
	channel_send(worker->setup->channel, CHANNEL_READY, -1);
	return 0;
}

/* ------------------------------------------------------------------ the end */

/* Whoever uses a thing ends before the thing does; takes a half-built worker. */
static void tear_down(struct worker *worker)
{
	cancel_request(&worker->cancel);
	if (worker->watcher_started)
		pthread_join(worker->watcher, NULL);
	if (worker->refresher)
		refresher_stop(worker->refresher);
	control_free(worker->control);
	fs_free(worker->fs);
	refresher_free(worker->refresher);
	runner_free(worker->runner);
	http_free(worker->http);
	for (size_t i = 0; i < worker->n_terms; i++)
		term_release(&worker->terms[i]);
	free(worker->terms);
	drop_tokens(worker);
	store_close(worker->store);
	free(worker->control_path);
	close_cleanup(&worker->signals);
	cancel_release(&worker->cancel);
}

int worker_run(const struct worker_setup *setup)
{
	struct worker worker = {
		.setup = setup,
		.config = setup->config,
		.cancel = { .fd = -1 },
		.signals = -1,
	};
	struct err err = ERR_INIT;
	int code = 0;

	prctl(PR_SET_NAME, "rptfs-worker");
	/* Hundreds of update threads share two heaps instead of having one each. */
	mallopt(M_ARENA_MAX, 2);
	if (prepare(&worker, &err) < 0 || serve(&worker, &err) < 0) {
		if (err.kind != ERR_CANCELED)
			log_event(LOG_LEVEL_ERROR, "start_failed", LOG_STR("error", err.msg));
		code = 1;
	} else {
		pthread_join(worker.watcher, NULL);
		worker.watcher_started = false;
		log_event(LOG_LEVEL_INFO, "ending",
			  LOG_STR("mountpoint", setup->config->mountpoint));
	}
	tear_down(&worker);
	close(setup->channel);
	return code;
}
