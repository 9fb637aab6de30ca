/*
 * Records of terms, sources and directories. Each function is one job.
 */
#include "base/log.h"
#include "store/store_state.h"

struct directory_job {
	struct job job;
	const char *path;
	uint64_t id;
};

static int run_find_directory(struct store *store, struct job *job, struct err *err)
{
	struct directory_job *directory = container_of(job, struct directory_job, job);

	return catalog_find_directory(store->catalog, directory->path, &directory->id, err);
}

static int prepare_directory(struct store *store, struct job *job, struct err *err)
{
	struct directory_job *directory = container_of(job, struct directory_job, job);

	return catalog_take_id(store->catalog, &directory->id, err);
}

static int run_directory(struct store *store, struct job *job, struct err *err)
{
	struct directory_job *directory = container_of(job, struct directory_job, job);
	uint64_t found;

	/* Another thread may have added the directory meanwhile. */
	if (catalog_find_directory(store->catalog, directory->path, &found, err) < 0)
		return -1;
	if (!found)
		return catalog_insert_directory(store->catalog, directory->path, directory->id,
						err);
	directory->id = found;
	return 0;
}

int store_directory_id(struct store *store, const char *path, uint64_t *ret, struct err *err)
{
	struct directory_job find = {
		.job = { .kind = JOB_READS, .run = run_find_directory },
		.path = path,
	};
	/* A power cut may undo it. The kernel that had the id is then gone, and the id was reserved
	 * durably, so it is not allocated again. */
	struct directory_job add = {
		.job = { .kind = JOB_WRITES, .prepare = prepare_directory, .run = run_directory },
		.path = path,
	};

	if (store_run(store, &find.job, err) < 0 ||
	    (!find.id && store_run(store, &add.job, err) < 0))
		return -1;
	*ret = find.id ? find.id : add.id;
	return 0;
}

struct id_job {
	struct job job;
	uint64_t id;
};

static int run_take_id(struct store *store, struct job *job, struct err *err)
{
	struct id_job *take = container_of(job, struct id_job, job);

	return catalog_take_id(store->catalog, &take->id, err);
}

int store_take_id(struct store *store, uint64_t *ret, struct err *err)
{
	struct id_job take = { .job = { .kind = JOB_READS, .run = run_take_id } };

	if (store_run(store, &take.job, err) < 0)
		return -1;
	*ret = take.id;
	return 0;
}

uint64_t store_last_id(const struct store *store)
{
	return store->first_id - 1;
}

void store_term_release(struct store_term *term)
{
	snapshot_unref(term->snapshot);
	free(term->token);
	*term = (struct store_term){ .snapshot = NULL };
}

struct load_job {
	struct job job;
	int (*each_term)(void *arg, const char *name, struct store_term *term, struct err *err);
	int (*each_held)(void *arg, const char *term, struct snapshot *snapshot, struct err *err);
	int (*each_refused)(void *arg, const struct store_refusal *refusal, struct err *err);
	void *arg;
};

static int run_load_all(struct store *store, struct job *job, struct err *err)
{
	struct load_job *load = container_of(job, struct load_job, job);

	return catalog_load_all(store->catalog, load->each_term, load->arg, err);
}

int store_load_all(struct store *store,
		   int (*each)(void *arg, const char *name, struct store_term *term,
			       struct err *err),
		   void *arg, struct err *err)
{
	struct load_job load = {
		.job = { .kind = JOB_READS, .run = run_load_all },
		.each_term = each,
		.arg = arg,
	};

	return store_run(store, &load.job, err);
}

static int run_list_held(struct store *store, struct job *job, struct err *err)
{
	struct load_job *load = container_of(job, struct load_job, job);

	return catalog_list_held(store->catalog, load->each_held, load->arg, err);
}

int store_list_held(struct store *store,
		    int (*each)(void *arg, const char *term, struct snapshot *snapshot,
				struct err *err),
		    void *arg, struct err *err)
{
	struct load_job load = {
		.job = { .kind = JOB_READS, .run = run_list_held },
		.each_held = each,
		.arg = arg,
	};

	return store_run(store, &load.job, err);
}

struct retain_job {
	struct job job;
	const char *const *terms;
	size_t n_terms;
};

static int run_retain(struct store *store, struct job *job, struct err *err)
{
	struct retain_job *retain = container_of(job, struct retain_job, job);

	return catalog_retain(store->catalog, retain->terms, retain->n_terms, &store->deleted, err);
}

void store_retain(struct store *store, const char *const *terms, size_t n_terms)
{
	struct err err = ERR_INIT;
	struct retain_job retain = {
		.job = { .kind = JOB_DURABLE, .run = run_retain },
		.terms = terms,
		.n_terms = n_terms,
	};

	if (store_run(store, &retain.job, &err) < 0)
		log_event(LOG_LEVEL_WARNING, "retain_deferred", LOG_STR("store", store->dir),
			  LOG_STR("error", err.msg));
}

struct confirmed_job {
	struct job job;
	const char *term;
	int64_t wall_ms;
};

static int run_set_confirmed(struct store *store, struct job *job, struct err *err)
{
	struct confirmed_job *confirmed = container_of(job, struct confirmed_job, job);

	return catalog_set_confirmed(store->catalog, confirmed->term, confirmed->wall_ms, err);
}

int store_set_confirmed(struct store *store, const char *term, int64_t wall_ms, struct err *err)
{
	struct confirmed_job confirmed = {
		.job = { .kind = JOB_WRITES, .run = run_set_confirmed },
		.term = term,
		.wall_ms = wall_ms,
	};

	return store_run(store, &confirmed.job, err);
}

/* A token of one source of a term, accepted or refused. */
struct token_job {
	struct job job;
	const char *term;
	uint64_t fingerprint;
	const char *token;
	const char *reason;
};

static int run_set_token(struct store *store, struct job *job, struct err *err)
{
	struct token_job *token = container_of(job, struct token_job, job);

	return catalog_set_token(store->catalog, token->term, token->token, token->fingerprint,
				 err);
}

int store_set_token(struct store *store, const char *term, const char *token, uint64_t fingerprint,
		    struct err *err)
{
	struct token_job set = {
		.job = { .kind = JOB_WRITES, .run = run_set_token },
		.term = term,
		.fingerprint = fingerprint,
		.token = token,
	};

	return store_run(store, &set.job, err);
}

struct fingerprints_job {
	struct job job;
	const struct store_fingerprint *items;
	size_t n;
};

static int run_replace_fingerprints(struct store *store, struct job *job, struct err *err)
{
	struct fingerprints_job *replace = container_of(job, struct fingerprints_job, job);

	for (size_t i = 0; i < replace->n; i++) {
		const struct store_fingerprint *item = &replace->items[i];
		if (catalog_replace_fingerprint(store->catalog, item->term, item->before,
						item->after, err) < 0)
			return -1;
	}
	return 0;
}

int store_replace_fingerprints(struct store *store, const struct store_fingerprint *items, size_t n,
			       struct err *err)
{
	struct fingerprints_job replace = {
		.job = { .kind = JOB_WRITES, .run = run_replace_fingerprints },
		.items = items,
		.n = n,
	};

	return store_run(store, &replace.job, err);
}

static int run_refuse(struct store *store, struct job *job, struct err *err)
{
	struct token_job *token = container_of(job, struct token_job, job);

	return catalog_refuse(store->catalog, token->term, token->fingerprint, token->token,
			      token->reason, err);
}

int store_refuse(struct store *store, const char *term, uint64_t fingerprint, const char *token,
		 const char *reason, struct err *err)
{
	struct token_job refuse = {
		.job = { .kind = JOB_DURABLE, .run = run_refuse },
		.term = term,
		.fingerprint = fingerprint,
		.token = token,
		.reason = reason ? reason : "",
	};

	return store_run(store, &refuse.job, err);
}

static int run_list_refused(struct store *store, struct job *job, struct err *err)
{
	struct load_job *load = container_of(job, struct load_job, job);

	return catalog_list_refused(store->catalog, load->each_refused, load->arg, err);
}

int store_list_refused(struct store *store,
		       int (*each)(void *arg, const struct store_refusal *refusal, struct err *err),
		       void *arg, struct err *err)
{
	struct load_job load = {
		.job = { .kind = JOB_READS, .run = run_list_refused },
		.each_refused = each,
		.arg = arg,
	};

	return store_run(store, &load.job, err);
}
