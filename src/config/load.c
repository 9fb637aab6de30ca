#include "config/load.h"

#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/util.h"
#include "config/config_name.h"
#include "config/load_internal.h"

/* Of the digest in the name of a store. */
#define STORE_NAME_DIGITS 16

static const struct place command_line = { 0, 0 };

/* ------------------------------------------------------------------ the loader */

static int init_block(struct loader *loader, struct block *block, const struct option_table *table,
		      const void *defaults)
{
	void *values = defaults ? pool_alloc(loader->pool, table->size) : NULL;

	if (!values)
		return -1;
	options_init(&block->options, table, values, defaults, loader->pool);
	return 0;
}

static int init_source_defaults(struct loader *loader)
{
	const struct source_type *const *types = loader->request->types;
	size_t n = 0;

	while (types[n])
		n++;
	loader->source_defaults = calloc(n + 1, sizeof(*loader->source_defaults));
	if (!loader->source_defaults)
		return -1;
	for (size_t i = 0; i < n; i++) {
		loader->source_defaults[i] = options_defaults(types[i]->options, loader->pool);
		if (!loader->source_defaults[i])
			return -1;
	}
	return 0;
}

/* The defaults of user and group are those of the process. */
static void *term_defaults(struct pool *pool)
{
	struct term_config *defaults = pool_alloc(pool, sizeof(*defaults));
	const void *usual = options_defaults(&config_term_table, pool);

	if (!defaults || !usual)
		return NULL;
	memcpy(defaults, usual, sizeof(*defaults));
	defaults->user = geteuid();
	defaults->group = getegid();
	return defaults;
}

static void *root_defaults(struct pool *pool)
{
	struct config *defaults = pool_alloc(pool, sizeof(*defaults));
	const void *usual = options_defaults(&config_root_table, pool);

	if (!defaults || !usual)
		return NULL;
	memcpy(defaults, usual, sizeof(*defaults));
	defaults->allow_other = geteuid() == 0;
	return defaults;
}

static int loader_init(struct loader *loader, const struct config_request *request)
{
	struct err ignored = ERR_INIT;

	*loader = (struct loader){
		.request = request,
		.pool = pool_new(),
		.cwd = getcwd(NULL, 0),
		.defaults.kind = "defaults",
	};
	/* If the directory was deleted, no path relative to it can be valid. */
	if (!loader->cwd)
		loader->cwd = strdup("/");
	if (!loader->cwd || !loader->pool || digest_new(&loader->digest, &ignored) < 0)
		return -1;
	const void *root = root_defaults(loader->pool);
	loader->term_defaults = term_defaults(loader->pool);
	if (init_block(loader, &loader->root, &config_root_table, root) < 0 ||
	    init_block(loader, &loader->command_root, &config_root_table, root) < 0 ||
	    init_block(loader, &loader->defaults, &config_term_table, loader->term_defaults) < 0 ||
	    init_block(loader, &loader->command, &config_term_table, loader->term_defaults) < 0)
		return -1;
	return init_source_defaults(loader);
}

static void free_states(const struct term_config *term)
{
	for (size_t i = 0; i < term->n_sources; i++) {
		const struct source *source = &term->sources[i];
		if (source->type->free && source->state)
			source->type->free(source->state);
	}
}

static void loader_release(struct loader *loader)
{
	for (size_t i = 0; i < loader->n_drafts; i++)
		free_states(&loader->drafts[i].term);
	free(loader->drafts);
	for (unsigned i = 0; i < loader->n_files; i++)
		free(loader->files[i].path);
	free(loader->files);
	free(loader->source_defaults);
	digest_free(loader->digest);
	pool_free(loader->pool);
	problems_release(&loader->problems);
	free(loader->cwd);
}

/* ------------------------------------------------------------------ terms */

static void check_term(struct loader *loader, const struct draft *draft)
{
	const struct term_config *term = &draft->term;
	char stale[CLOCK_HUMAN_SIZE], interval[CLOCK_HUMAN_SIZE];

	if (term->min_size_bytes > term->max_size_bytes)
		problem_add(&loader->problems, draft->place, term->name,
			    "min_size (%" PRIu64 " bytes) is more than max_size (%" PRIu64 ")",
			    term->min_size_bytes, term->max_size_bytes);
	if (term->max_stale_ms && term->max_stale_ms <= term->refresh_interval_ms)
		problem_add(&loader->problems, draft->place, term->name,
			    "max_stale (%s) is not more than refresh_interval (%s): the term would "
			    "expire between two checks",
			    clock_human(term->max_stale_ms, stale),
			    clock_human(term->refresh_interval_ms, interval));
}

/* Fills in the options that the terms leave out, and checks combinations of options. */
static void finish_terms(struct loader *loader)
{
	struct options *defaults = &loader->defaults.options;
	const struct options *command = &loader->command.options;
	const struct option_spec *rows = config_term_table.rows;

	for (size_t row = 0; rows[row].name; row++) {
		if (options_is_given(command, &rows[row]))
			option_copy(&rows[row], defaults->values, command->values);
	}
	for (size_t i = 0; i < loader->n_drafts; i++) {
		struct draft *draft = &loader->drafts[i];
		for (size_t row = 0; rows[row].name; row++) {
			if (!(draft->given >> row & 1))
				option_copy(&rows[row], &draft->term, defaults->values);
		}
		check_term(loader, draft);
	}
}

/* Moves the terms from the drafts to the configuration. */
static int take_terms(struct loader *loader, struct config *config)
{
	if (loader->n_drafts == 0)
		return 0;
	config->terms = pool_alloc(loader->pool, loader->n_drafts * sizeof(*config->terms));
	if (!config->terms) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
	for (size_t i = 0; i < loader->n_drafts; i++)
		config->terms[i] = loader->drafts[i].term;
	config->n_terms = loader->n_drafts;
	loader->n_drafts = 0;
	return 0;
}

/* ------------------------------------------------------------------ the root */

/* Takes the values of the files, overridden by those of the command line. */
static void take_root(const struct loader *loader, struct config *config)
{
	const struct options *command = &loader->command_root.options;

	for (const struct option_spec *spec = config_root_table.rows; spec->name; spec++)
		option_copy(spec, config,
			    options_is_given(command, spec) ? command->values
							    : loader->root.options.values);
}

/* The pool's copy of a path below base. */
static const char *keep_path(struct loader *loader, const char *base, const char *path)
{
	_cleanup_free_ char *absolute = path_absolute(base, path);
	const char *kept = absolute ? pool_string(loader->pool, absolute, strlen(absolute)) : NULL;

	if (!kept)
		problem_out_of_memory(&loader->problems);
	return kept;
}

static int set_mountpoint(struct loader *loader, struct config *config)
{
	const char *asked = loader->request->mountpoint;

	if (!asked)
		return 0;
	if (!*asked) {
		problem_add(&loader->problems, command_line, NULL, "the mount point is empty");
		return -1;
	}
	config->mountpoint = keep_path(loader, loader->cwd, asked);
	return config->mountpoint ? 0 : -1;
}

/* The default directory of stores: /var/lib/rptfs, or in the user's home. Returns NULL with
 * errno 0 if there is no home, else if out of memory. The caller frees it. */
static char *default_stores(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char buffer[16384], *path = NULL;
	struct passwd entry, *found = NULL;

	errno = ENOMEM;
	if (geteuid() == 0)
		return strdup("/var/lib/rptfs");
	if (state && *state == '/')
		return asprintf(&path, "%s/rptfs", state) < 0 ? NULL : path;
	if (!home && getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found)
		home = found->pw_dir;
	if (home && *home == '/')
		return asprintf(&path, "%s/.local/state/rptfs", home) < 0 ? NULL : path;
	errno = 0;
	return NULL;
}

/* The name of the store of a mount point. One that is too long for a file system is cut, and ends
 * with the beginning of the mount point's digest. Returns NULL if out of memory. */
static char *store_name(const char *mountpoint)
{
	_cleanup_free_ char *escaped = path_escape(mountpoint);
	uint8_t digest[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE], *name = NULL;
	struct err err = ERR_INIT;

	if (!escaped || strlen(escaped) <= NAME_MAX)
		return steal_ptr(&escaped);
	if (digest_of(mountpoint, strlen(mountpoint), digest, &err) < 0 ||
	    asprintf(&name, "%.*s-%.*s", NAME_MAX - 1 - STORE_NAME_DIGITS, escaped,
		     STORE_NAME_DIGITS, digest_hex(digest, hex)) < 0)
		return NULL;
	return name;
}

static int set_default_store(struct loader *loader, struct config *config)
{
	_cleanup_free_ char *stores = default_stores();

	if (!stores && errno == 0) {
		problem_add(&loader->problems, command_line, NULL,
			    "no home directory for the store: give an option \"store\"");
		return -1;
	}
	_cleanup_free_ char *name = stores ? store_name(config->mountpoint) : NULL;
	if (!name) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
	config->store = keep_path(loader, stores, name);
	return config->store ? 0 : -1;
}

/* Where an option of the root is given. */
static struct place place_of(const struct loader *loader, const char *option)
{
	const struct option_spec *spec = option_find(&config_root_table, option);

	return options_is_given(&loader->command_root.options, spec)
		       ? command_line
		       : loader->root.first[spec - config_root_table.rows];
}

/* By name, or by number, which is no name. */
static bool is_root(const char *user)
{
	char buffer[16384];
	struct passwd entry, *found = NULL;

	if (*user && user[strspn(user, "0")] == '\0')
		return true;
	return getpwnam_r(user, &entry, buffer, sizeof(buffer), &found) == 0 && found &&
	       found->pw_uid == 0;
}

static void check_user(struct loader *loader, const struct config *config)
{
	if (config->user && is_root(config->user))
		problem_add(&loader->problems, place_of(loader, "user"), NULL,
			    "user: \"%s\" is root, and the worker never runs as root: name an "
			    "unprivileged user, or leave the option out",
			    config->user);
}

static bool is_below(const char *path, const char *directory)
{
	size_t len = directory ? strlen(directory) : 0;

	return len > 1 && strncmp(path, directory, len) == 0 &&
	       (path[len] == '/' || path[len] == '\0');
}

static int set_store(struct loader *loader, struct config *config)
{
	const char *given = config->store;
	struct place place = place_of(loader, "store");
	struct err err = ERR_INIT;

	if (!given)
		return config->mountpoint ? set_default_store(loader, config) : 0;
	if (!*given) {
		problem_add(&loader->problems, place, NULL, "store: the path is empty");
		return -1;
	}
	if (config_is_memory(given))
		return 0;
	config->store = keep_path(loader, loader->cwd, given);
	if (!config->store)
		return -1;
	if (is_below(config->store, config->mountpoint)) {
		problem_add(&loader->problems, place, NULL,
			    "store: %s lies below the mount point, which would hide it", given);
		return -1;
	}
	if (loader->request->check_store && loader->request->check_store(config->store, &err) < 0)
		problem_add(&loader->problems, place, NULL, "%s", err.msg);
	return 0;
}

/* The worker may write to the store, so nothing that the configuration names may be in it, and it
 * not in that. */
static void check_path(struct loader *loader, const struct draft *draft, const char *type,
		       const char *option, const char *path, const char *store)
{
	bool is_in_store = is_below(path, store);

	if (is_in_store || is_below(store, path))
		problem_add(&loader->problems, draft->place, draft->term.name,
			    is_in_store ? "%s: %s: %s lies in the store, %s"
					: "%s: %s: %s has the store in it, %s",
			    type, option, path, store);
}

static void check_paths_of(struct loader *loader, const struct draft *draft, const char *store)
{
	for (size_t i = 0; i < draft->term.n_sources; i++) {
		const struct source *source = &draft->term.sources[i];
		const struct option_spec *spec = source->type->options->rows;

		for (; spec->name; spec++) {
			const char *path = option_file(spec, source->options);
			_cleanup_free_ char *normal = path && *path == '/'
							      ? path_absolute("/", path)
							      : NULL;
			if (normal)
				check_path(loader, draft, source->type->name, spec->name, normal,
					   store);
		}
	}
}

static void check_paths(struct loader *loader, const struct config *config)
{
	if (!config->store || config_is_memory(config->store))
		return;
	_cleanup_free_ char *real = realpath(config->store, NULL);
	for (size_t i = 0; i < loader->n_drafts; i++) {
		check_paths_of(loader, &loader->drafts[i], config->store);
		if (real && strcmp(real, config->store) != 0)
			check_paths_of(loader, &loader->drafts[i], real);
	}
}

/* ------------------------------------------------------------------ all of it */

DEFINE_CLEANUP(struct config, config_free)

static int load(struct loader *loader, struct config **ret)
{
	_cleanup_(config_free_cleanup) struct config *config = calloc(1, sizeof(*config));

	if (!config) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
	load_command_options(loader);
	load_command_terms(loader);
	if (loader->request->file)
		load_file(loader, loader->request->file);
	load_check_names(loader);
	finish_terms(loader);
	take_root(loader, config);
	check_user(loader, config);
	if (set_mountpoint(loader, config) < 0 || set_store(loader, config) < 0)
		return -1;
	check_paths(loader, config);
	if (problems_any(&loader->problems) || take_terms(loader, config) < 0)
		return -1;
	config->pool = steal_ptr(&loader->pool);
	pool_close(config->pool);
	*ret = steal_ptr(&config);
	return 0;
}

int config_load(struct config **ret, const struct config_request *request, FILE *problems)
{
	_cleanup_(loader_release) struct loader loader;

	if (loader_init(&loader, request) < 0)
		problem_out_of_memory(&loader.problems);
	else if (load(&loader, ret) == 0)
		return 0;
	problems_print(&loader.problems, problems);
	return -1;
}
