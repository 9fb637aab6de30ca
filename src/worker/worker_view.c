/*
 * The contents of .rpt/ and the answers to rpt, and waiting until they are available.
 *
 * A successor serves before it is built completely: readers of .rpt/ wait for the rest.
 *
 * Runs in the worker, unprivileged.
 */
#include "base/clock.h"
#include "base/util.h"
#include "worker/worker_internal.h"

void worker_set_built(struct worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->is_built = true;
	pthread_cond_broadcast(&worker->built_cond);
	pthread_mutex_unlock(&worker->lock);
}

bool worker_is_built(struct worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	bool is_built = worker->is_built;
	pthread_mutex_unlock(&worker->lock);
	return is_built;
}

int worker_wait_built(struct worker *worker, struct err *err)
{
	pthread_mutex_lock(&worker->lock);
	while (!worker->is_built)
		pthread_cond_wait(&worker->built_cond, &worker->lock);
	pthread_mutex_unlock(&worker->lock);
	/* tear_down() wakes the waiting threads as well. */
	return worker->view.refresher ? 0 : err_set(err, ERR_CANCELED, "rptfs is being stopped");
}

static int render_metrics(void *arg, const struct term_access *access, char **ret, size_t *ret_len,
			  struct err *err)
{
	struct worker *worker = arg;

	if (worker_wait_built(worker, err) < 0)
		return -1;
	return metrics_render(&worker->view, access, ret, ret_len, err);
}

static int render_status(void *arg, const struct term_access *access, char **ret, size_t *ret_len,
			 struct err *err)
{
	struct worker *worker = arg;

	if (worker_wait_built(worker, err) < 0)
		return -1;
	return status_render(&worker->view, access, ret, ret_len, err);
}

/* What users other than root and the owner may make the worker keep: renderings of .rpt/, whose
 * size depends on the number of terms, and connections of rpt. A user gets half of it. */
#define BUDGET_BYTES	  (UINT64_C(32) << 20)
#define BUDGET_TERM_BYTES UINT64_C(4096)

int worker_make_rights(struct worker *worker, struct err *err)
{
	uint64_t budget_bytes = BUDGET_BYTES + worker->n_terms * BUDGET_TERM_BYTES;

	if (budget_new(&worker->budget, budget_bytes, budget_bytes / 2, err) < 0)
		return -1;
	return term_rights_new(&worker->rights, worker->terms, worker->n_terms,
			       worker->hello.hello.owner, err);
}

void worker_fill_rendered_files(struct worker *worker)
{
	worker->rendered_files[0] = (struct rendered_file){ "metrics", render_metrics, worker };
	worker->rendered_files[1] = (struct rendered_file){ "status.json", render_status, worker };
}

/* See control_view.upgrade. */
static int ask_upgrade(void *arg, int connection, struct err *err)
{
	struct worker *worker = arg;

	if (channel_send(worker->setup->channel, CHANNEL_UPGRADE, connection) < 0)
		return err_set(err, ERR_INTERNAL, "the keeper does not answer");
	close(connection);
	return 0;
}

void worker_fill_view(struct worker *worker)
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
		.rights = worker->rights,
		.keeper = worker->hello.hello.keeper,
		.keeper_version = worker->hello.hello.keeper_version,
		.restarts = worker->hello.hello.restarts,
		.upgrade = ask_upgrade,
		.upgrade_arg = worker,
	};
}
