/*
 * Opens the store, and makes the terms with their last good versions.
 *
 * Runs in the worker, unprivileged.
 */
#include <string.h>

#include "base/util.h"
#include "worker/worker_internal.h"

int worker_open_store(struct worker *worker, struct err *err)
{
	const char *dir = worker->config->store;
	struct store_setup setup = {
		.dir_fd = worker->hello.fds[CHANNEL_FD_STORE],
		.dir = dir,
		.in_memory = config_is_memory(dir),
		.mount = inflight_negotiated(worker->inflight) ? inflight_mount(worker->inflight)
							       : 0,
		.set_aside = worker->hello.hello.set_aside,
	};

	if (store_open(&worker->store, &setup, err) < 0)
		return -1;
	/* Before the first reply to the kernel, which depends on it. */
	inflight_set_mount(worker->inflight, store_mount(worker->store));
	return 0;
}

/* Adds the next term of the configuration, with its record in the store. Takes ownership of the
 * contents of `has`. */
static int add_term(struct worker *worker, struct store_term *has, struct err *err)
{
	size_t i = worker->n_terms;
	const struct term_config *config = &worker->config->terms[i];
	char shown[VERSION_SIZE];
	const char *called = has->token	     ? version_display(has->token, shown)
			     : has->snapshot ? has->snapshot->version
					     : NULL;

	worker->tokens[i] = steal_ptr(&has->token);
	worker->fingerprints[i] = has->fingerprint;
	if (term_init(&worker->terms[i], config, steal_ptr(&has->snapshot), called, err) < 0)
		return err_prefix(err, "term \"%s\"", config->name);
	worker->terms[i].slot = has->slot;
	worker->n_terms++;
	term_set_confirmed(&worker->terms[i], has->confirmed_at_ms);
	return 0;
}

/* Adds the terms before `name` (NULL: all the others), which are not in the store. */
static int add_unknown_terms(struct worker *worker, const char *name, struct err *err)
{
	const struct config *config = worker->config;
	struct store_term nothing = { .snapshot = NULL };

	while (worker->n_terms < config->n_terms &&
	       (!name || strcmp(config->terms[worker->n_terms].name, name) < 0)) {
		if (add_term(worker, &nothing, err) < 0)
			return -1;
	}
	return 0;
}

/* Merges the configuration and the store, which are both sorted by name. */
static int on_known_term(void *arg, const char *name, struct store_term *has, struct err *err)
{
	struct worker *worker = arg;
	const struct config *config = worker->config;
	int result = add_unknown_terms(worker, name, err);

	if (has->slot > worker->last_slot)
		worker->last_slot = has->slot;
	if (result == 0 && worker->n_terms < config->n_terms &&
	    strcmp(config->terms[worker->n_terms].name, name) == 0)
		result = add_term(worker, has, err);
	store_term_release(has);
	return result;
}

static int retain_terms(struct worker *worker, struct err *err)
{
	const struct config *config = worker->config;
	_cleanup_free_ const char **names = calloc(config->n_terms + 1, sizeof(*names));

	if (!names)
		return err_set(err, ERR_INTERNAL, "terms: out of memory");
	for (size_t i = 0; i < config->n_terms; i++)
		names[i] = config->terms[i].name;
	store_retain(worker->store, names, config->n_terms);
	return 0;
}

/* Replaces the fingerprints that versions up to 0.1 have put into the store. Remove this with
 * config/legacy_fingerprint.h. */
static int replace_legacy_fingerprints(struct worker *worker, struct err *err)
{
	_cleanup_free_ struct store_fingerprint *items = calloc(worker->n_terms + 1,
								sizeof(*items));
	size_t n = 0;

	if (!items)
		return err_set(err, ERR_INTERNAL, "terms: out of memory");
	for (size_t i = 0; i < worker->n_terms; i++) {
		const struct term_config *config = &worker->config->terms[i];
		uint64_t before = worker->fingerprints[i];
		for (size_t j = 0; j < config->n_sources; j++) {
			const struct source *source = &config->sources[j];
			if (before == source->fingerprint || before != source->legacy_fingerprint)
				continue;
			worker->fingerprints[i] = source->fingerprint;
			items[n++] = (struct store_fingerprint){ config->name, before,
								 source->fingerprint };
			break;
		}
	}
	return n ? store_replace_fingerprints(worker->store, items, n, err) : 0;
}

int worker_load_terms(struct worker *worker, struct err *err)
{
	const struct config *config = worker->config;

	worker->terms = calloc(config->n_terms + 1, sizeof(*worker->terms));
	worker->tokens = calloc(config->n_terms + 1, sizeof(*worker->tokens));
	worker->fingerprints = calloc(config->n_terms + 1, sizeof(*worker->fingerprints));
	if (!worker->terms || !worker->tokens || !worker->fingerprints)
		return err_set(err, ERR_INTERNAL, "terms: out of memory");
	if (retain_terms(worker, err) < 0 ||
	    store_load_all(worker->store, on_known_term, worker, err) < 0)
		return -1;
	if (add_unknown_terms(worker, NULL, err) < 0)
		return -1;
	return replace_legacy_fingerprints(worker, err);
}

void worker_drop_tokens(struct worker *worker)
{
	for (size_t i = 0; worker->tokens && i < worker->config->n_terms; i++)
		free(worker->tokens[i]);
	free(steal_ptr(&worker->tokens));
	free(steal_ptr(&worker->fingerprints));
}
