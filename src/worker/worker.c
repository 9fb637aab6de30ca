#include "worker/worker.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/daemonize.h"
#include "base/log.h"
#include "base/process_id.h"
#include "base/util.h"
#include "worker/helper_client.h"
#include "worker/sandbox.h"
#include "worker/worker_internal.h"

/* How long the first attempts wait until the publications of a predecessor are finished. */
#define TAKE_OVER_MAX_MS 5000
#define HEAP_SPARE_BYTES (1 << 20) /* free memory that malloc may keep at the top of a heap */

/* ------------------------------------------------------------------ building */

/* Fetches a term again after the store has dropped its corrupt bytes. Not needed before the
 * refresher runs: its first attempts fetch them. */
static void fetch_again(void *arg, struct term *term)
{
	struct worker *worker = arg;

	if (worker_is_built(worker) && !cancel_requested(&worker->cancel))
		refresher_request(worker->refresher, (size_t)(term - worker->terms));
}

/* The keeper of an earlier build starts it as root if there is no user "rptfs". Remove this in
 * January 2028. */
static int refuse_root(struct err *err)
{
	return geteuid() != 0
		       ? 0
		       : err_set(err, ERR_CONFIG, "the worker would run as root: restart rptfs");
}

/* See worker/sandbox.h. The worker holds passwords and keys: it leaves no core dump, and other
 * processes of its user cannot read its memory. */
static int confine(struct worker *worker, struct err *err)
{
	prctl(PR_SET_DUMPABLE, 0);
	return worker->hello.hello.is_confined
		       ? sandbox_enter(worker->hello.fds[CHANNEL_FD_STORE], err)
		       : 0;
}

/* Receives HELLO, with the inherited descriptors. */
static int inherit(struct worker *worker, struct err *err)
{
	const struct channel_hello *hello = &worker->hello.hello;

	process_id_remember();
	channel_receive(worker->setup->channel, CHANNEL_WAITS, &worker->hello);
	if (worker->hello.type != CHANNEL_HELLO)
		return err_set(err, ERR_CANCELED, "the keeper is gone");
	if (hello->protocol != CHANNEL_PROTOCOL)
		return err_set(err, ERR_CONFIG,
			       "the keeper uses protocol %u, this program %u: restart rptfs",
			       hello->protocol, CHANNEL_PROTOCOL);
	if (hello->is_detached && !worker->setup->foreground)
		daemonize_detach();
	return 0;
}

/* Opens what is not in the root that the worker gets next, if its keeper is root. */
static int isolate(struct worker *worker, struct err *err)
{
	const struct channel_hello *hello = &worker->hello.hello;

	if (spare_memory_new(&worker->spare_memory, err) < 0)
		return -1;
	return hello->is_confined && hello->owner == 0 ? sandbox_isolate(err) : 0;
}

static int load_config(struct worker *worker, struct err *err)
{
	return worker->setup->load(worker->hello.fds[CHANNEL_FD_CONFIG], worker->helper,
				   &worker->config, err);
}

/* As start of helper_client_new(). */
static int start_helper(void *arg, enum helper_role role, int socket)
{
	const struct worker *worker = arg;

	return channel_send(worker->setup->channel,
			    role == HELPER_EXECUTOR ? CHANNEL_EXECUTOR : CHANNEL_HELPER, socket);
}

/* The callback `start` of visitor_new(). */
static int start_visitor(void *arg, int socket)
{
	const struct worker *worker = arg;

	return channel_send(worker->setup->channel, CHANNEL_VISITOR, socket);
}

static int make_fs(struct worker *worker, struct err *err)
{
	struct fs_setup setup = {
		.terms = worker->terms,
		.n_terms = worker->n_terms,
		.last_slot = worker->last_slot,
		.store = worker->store,
		.cancel = &worker->cancel,
		.notifier = worker->notifier,
		.visitor = worker->visitor,
		.renames = worker->hello.hello.renames,
		.spare_memory = worker->spare_memory,
		.prewarm_total_bytes = worker->config->prewarm_total_bytes,
		.owner = worker->hello.hello.owner,
		.owner_group = worker->hello.hello.owner_group,
		.control_path = worker->hello.hello.control_path,
		.rendered_files = worker->rendered_files,
		.n_rendered_files = ARRAY_SIZE(worker->rendered_files),
		.rights = worker->rights,
		.budget = worker->budget,
		.lost = fetch_again,
		.lost_arg = worker,
	};

	worker_fill_rendered_files(worker);
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
			.helper = worker->helper,
			.cancel = &worker->cancel,
			.publish = fs_publish,
			.publish_arg = worker->fs,
		},
	};

	return refresher_new(&worker->refresher, &setup, err);
}

/* Starts everything that is needed to serve the snapshots in the store. */
static int prepare_to_serve(struct worker *worker, struct err *err)
{
	if (worker_open_store(worker, err) < 0 || worker_load_terms(worker, err) < 0 ||
	    worker_make_rights(worker, err) < 0)
		return -1;
	return make_fs(worker, err);
}

/* Starts everything that is needed to fetch. Sends no request to a source yet. */
static int prepare_to_fetch(struct worker *worker, struct err *err)
{
	if (http_new(&worker->http, worker->helper, &worker->cancel, err) < 0 ||
	    make_refresher(worker, err) < 0)
		return -1;
	worker_drop_tokens(worker);
	worker_fill_view(worker);
	return 0;
}

static int begin(struct worker *worker, struct err *err)
{
	if (refuse_root(err) < 0 || inherit(worker, err) < 0 || isolate(worker, err) < 0 ||
	    notifier_new(&worker->notifier, err) < 0 ||
	    inflight_map(&worker->inflight, worker->hello.fds[CHANNEL_FD_INFLIGHT], err) < 0 ||
	    confine(worker, err) < 0 || cancel_init(&worker->cancel, err) < 0 ||
	    worker_block_signals(worker, err) < 0 || worker_start_pulse(worker, err) < 0 ||
	    helper_client_new(&worker->helper, start_helper, worker, &worker->cancel, err) < 0 ||
	    visitor_new(&worker->visitor, start_visitor, worker, err) < 0)
		return -1;
	return load_config(worker, err);
}

/* ------------------------------------------------------------------ serving */

static int send_to_keeper(struct worker *worker, enum channel_type type, struct err *err)
{
	if (channel_send(worker->setup->channel, type, -1) < 0)
		return err_set(err, ERR_CANCELED, "the keeper is gone");
	return 0;
}

/* Waits for a message of this type, the only one that can come now. */
static int expect(struct worker *worker, enum channel_type type, struct channel_message *ret,
		  struct err *err)
{
	channel_receive(worker->setup->channel, CHANNEL_WAITS, ret);
	if (ret->type == type)
		return 0;
	channel_message_release(ret);
	return err_set(err, ERR_CANCELED, "the keeper is gone, or has sent another message");
}

static int start_serving(struct worker *worker, int device, struct err *err)
{
	if (fs_start(worker->fs, device, worker->inflight, worker->setup->debug, err) < 0)
		return -1;
	atomic_store(&worker->serving_ms, clock_boot_ms());
	/* The watcher reports the end of the connection, which comes after SERVING. */
	if (send_to_keeper(worker, CHANNEL_SERVING, err) < 0)
		return -1;
	return worker_start_watcher(worker, err);
}

/* The first worker. Everything that can fail is done before the mount is made. */
static int start_first(struct worker *worker, struct err *err)
{
	struct channel_message message;

	if (prepare_to_serve(worker, err) < 0 || prepare_to_fetch(worker, err) < 0 ||
	    send_to_keeper(worker, CHANNEL_PREPARED, err) < 0 ||
	    expect(worker, CHANNEL_DEVICE, &message, err) < 0)
		return -1;
	int result = start_serving(worker, message.fds[0], err);
	channel_message_release(&message);
	return result;
}

/* A successor. Readers wait until it serves. */
static int start_next(struct worker *worker, struct err *err)
{
	if (prepare_to_serve(worker, err) < 0 ||
	    start_serving(worker, worker->hello.fds[CHANNEL_FD_DEVICE], err) < 0)
		return -1;
	return prepare_to_fetch(worker, err);
}

/* Prepares beside the worker that serves, and waits for GO. */
static int stand_by(struct worker *worker, struct err *err)
{
	struct channel_message message;

	if (store_peek(worker->hello.fds[CHANNEL_FD_STORE], worker->config->store, err) < 0 ||
	    fs_rehearse(worker->inflight, err) < 0)
		return -1;
	if (channel_send_text(worker->setup->channel, CHANNEL_STANDBY, -1,
			      worker->setup->keeper_kind) < 0)
		return err_set(err, ERR_CANCELED, "the keeper is gone");
	if (expect(worker, CHANNEL_GO, &message, err) < 0)
		return -1;
	channel_message_release(&message);
	return 0;
}

/* Removes files that a predecessor was writing when it died. */
static void tidy_up(struct worker *worker)
{
	struct err err = ERR_INIT;

	if (store_remove_orphans(worker->store, &err) < 0)
		log_event(LOG_LEVEL_WARNING, "tidy_up_failed",
			  LOG_STR("store", worker->config->store), LOG_STR("error", err.msg));
}

static int start_control(struct worker *worker, struct err *err)
{
	const struct control_setup setup = {
		.view = &worker->view,
		.listener = worker->hello.fds[CHANNEL_FD_CONTROL],
		.allow_other = worker->config->allow_other,
		.budget = worker->budget,
		.cancel = &worker->cancel,
	};

	return control_new(&worker->control, &setup, err);
}

static int start(struct worker *worker, struct err *err)
{
	const struct channel_hello *hello = &worker->hello.hello;

	if (hello->is_standby && stand_by(worker, err) < 0)
		return -1;
	int result = worker->hello.fds[CHANNEL_FD_DEVICE] < 0 ? start_first(worker, err)
							      : start_next(worker, err);
	if (result < 0)
		return -1;
	worker_set_built(worker);
	fs_wait_taken_over(worker->fs, TAKE_OVER_MAX_MS);
	if (start_control(worker, err) < 0 || refresher_start(worker->refresher, err) < 0)
		return -1;
	if (worker->hello.fds[CHANNEL_FD_DEVICE] >= 0)
		tidy_up(worker);
	return 0;
}

/* The command of the first worker waits for the first attempts. */
static int get_ready(struct worker *worker, struct err *err)
{
	const struct config *config = worker->config;
	int64_t deadline = clock_boot_ms() + config->start_timeout_ms;
	char version[BUILD_VERSION_SIZE];

	log_event(LOG_LEVEL_INFO,
		  worker->hello.fds[CHANNEL_FD_DEVICE] < 0 ? "mounted" : "taken_over",
		  LOG_STR("mountpoint", config->mountpoint),
		  LOG_INT("terms", (int64_t)worker->n_terms), LOG_STR("store", config->store),
		  LOG_STR("publish_mode", fs_publish_mode(worker->fs)),
		  LOG_STR("version", build_version(version)));
	if (worker->hello.hello.is_detached)
		return send_to_keeper(worker, CHANNEL_READY, err);
	size_t waiting = refresher_wait_first(worker->refresher, deadline);
	if (waiting && !cancel_requested(&worker->cancel))
		log_event(LOG_LEVEL_WARNING, "start_timeout",
			  LOG_INT("terms_waiting", (int64_t)waiting));
	if (!worker->setup->foreground)
		daemonize_detach();
	return send_to_keeper(worker, CHANNEL_READY, err);
}

/* ------------------------------------------------------------------ the end */

/* A part ends before the parts that it uses. The worker may be half-built. */
static void tear_down(struct worker *worker)
{
	cancel_request(&worker->cancel);
	worker_set_built(worker); /* wakes the threads that wait */
	if (worker->watcher_started)
		pthread_join(worker->watcher, NULL);
	if (worker->refresher)
		refresher_stop(worker->refresher);
	control_free(worker->control);
	fs_free(worker->fs);
	term_rights_free(worker->rights);
	budget_free(worker->budget);
	refresher_free(worker->refresher);
	http_free(worker->http);
	for (size_t i = 0; i < worker->n_terms; i++)
		term_release(&worker->terms[i]);
	free(worker->terms);
	worker_drop_tokens(worker);
	store_close(worker->store);
	config_free(worker->config);
	helper_client_free(worker->helper);
	if (worker->pulse_started)
		pthread_join(worker->pulse, NULL);
	inflight_unmap(worker->inflight);
	visitor_free(worker->visitor);
	spare_memory_free(worker->spare_memory);
	notifier_free(worker->notifier);
	channel_message_release(&worker->hello);
	close_cleanup(&worker->signals);
	cancel_release(&worker->cancel);
	pthread_cond_destroy(&worker->built_cond);
	pthread_mutex_destroy(&worker->lock);
}

/* Reports why the start failed, in the log and to the keeper. */
static void report_failure(struct worker *worker, const struct err *err)
{
	bool is_successor = worker->hello.fds[CHANNEL_FD_DEVICE] >= 0;
	bool is_unfit = is_successor && !worker->watcher_started && err->kind == ERR_BAD_DATA;

	if (err->kind == ERR_CANCELED)
		return;
	if (!is_successor)
		log_event(LOG_LEVEL_ERROR, "start_failed", LOG_STR("error", err->msg));
	channel_send_text(worker->setup->channel, is_unfit ? CHANNEL_UNFIT : CHANNEL_FAILED, -1,
			  err->msg);
}

int worker_run(const struct worker_setup *setup)
{
	struct worker worker = {
		.setup = setup,
		.cancel = { .fd = -1 },
		.hello = { .fds = { -1, -1, -1, -1, -1 } },
		.signals = -1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.built_cond = PTHREAD_COND_INITIALIZER,
	};
	struct err err = ERR_INIT;
	int code = 0;

	prctl(PR_SET_NAME, "rptfs-worker");
	/* Hundreds of update threads share two heaps, and these stay small: otherwise malloc would
	 * raise both thresholds to the size of the largest rendering that was freed. */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, HEAP_SPARE_BYTES);
	mallopt(M_TRIM_THRESHOLD, HEAP_SPARE_BYTES);
	if (begin(&worker, &err) < 0 || start(&worker, &err) < 0 || get_ready(&worker, &err) < 0) {
		report_failure(&worker, &err);
		code = 1;
	} else {
		pthread_join(worker.watcher, NULL);
		worker.watcher_started = false;
		log_event(LOG_LEVEL_INFO, "ending",
			  LOG_STR("mountpoint", worker.config->mountpoint));
	}
	tear_down(&worker);
	close(setup->channel);
	return code;
}
