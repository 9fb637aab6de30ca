/*
 * What the store remembers of terms, sources and directories: each question is one job.
 */
#include "term/store_internal.h"

struct directory_job {
	struct job job;
	const char *path;
	uint64_t id;
	bool is_new;
};

static int prepare_directory(struct store *store, struct job *job, struct err *err)
{
	struct directory_job *directory = container_of(job, struct directory_job, job);

	if (catalog_find_directory(store->catalog, directory->path, &directory->id, err) < 0)
		return -1;
	directory->is_new = directory->id == 0;
	return directory->is_new ? catalog_take_id(store->catalog, &directory->id, err) : 0;
}

static int run_directory(struct store *store, struct job *job, struct err *err)
{
	struct directory_job *directory = container_of(job, struct directory_job, job);
	uint64_t found;

	if (!directory->is_new)
		return 0;
	/* Another job of the same batch may have asked for the same directory. */
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
	/* A power cut may undo it: the kernel that was told the id is gone then, and the id itself
	 * was reserved durably, so that nobody gets it again. */
	struct directory_job directory = {
		.job = { .kind = JOB_WRITES, .prepare = prepare_directory, .run = run_directory },
		.path = path,
	};

	if (store_run(store, &directory.job, err) < 0)
		return -1;
	*ret = directory.id;
	return 0;
}

struct load_job {
	struct job job;
	const char *term;
	struct snapshot *snapshot;
	char *token;
	uint64_t fingerprint;
};

static int run_load(struct store *store, struct job *job, struct err *err)
{
	struct load_job *load = container_of(job, struct load_job, job);

	return catalog_load(store->catalog, load->term, &load->snapshot, &load->token,
			    &load->fingerprint, err);
}

int store_load(struct store *store, const char *term, struct snapshot **ret, char **ret_token,
	       uint64_t *ret_fingerprint, struct err *err)
{
	struct load_job load = { .job = { .kind = JOB_READS, .run = run_load }, .term = term };

	if (store_run(store, &load.job, err) < 0)
		return -1;
	*ret = load.snapshot;
	*ret_token = load.token;
	*ret_fingerprint = load.fingerprint;
	return 0;
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

int store_retain(struct store *store, const char *const *terms, size_t n_terms, struct err *err)
{
	struct retain_job retain = {
		.job = { .kind = JOB_DURABLE, .run = run_retain },
		.terms = terms,
		.n_terms = n_terms,
	};

	return store_run(store, &retain.job, err);
}

/* A token of one source of a term: accepted, refused, or asked for. */
struct token_job {
	struct job job;
	const char *term;
	uint64_t fingerprint;
	const char *token;
	const char *reason;
	char *ret_token;
	char *ret_reason;
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

static int run_refused(struct store *store, struct job *job, struct err *err)
{
	struct token_job *token = container_of(job, struct token_job, job);

	return catalog_refused(store->catalog, token->term, token->fingerprint, &token->ret_token,
			       &token->ret_reason, err);
}

int store_refused(struct store *store, const char *term, uint64_t fingerprint, char **ret_token,
		  char **ret_reason, struct err *err)
{
	struct token_job refused = {
		.job = { .kind = JOB_READS, .run = run_refused },
		.term = term,
		.fingerprint = fingerprint,
	};

	if (store_run(store, &refused.job, err) < 0)
		return -1;
	*ret_token = refused.ret_token;
	*ret_reason = refused.ret_reason;
	return 0;
}
