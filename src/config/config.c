/*
 * config: puts together what the command line and the files say.
 */
#include "config/config.h"

#include <pwd.h>
#include <string.h>

#include "base/util.h"
#include "config/config_load.h"
#include "config/config_name.h"

static int parse_publish_mode(const char *text, int64_t *ret, struct err *err)
{
	if (strcmp(text, "auto") == 0)
		*ret = PUBLISH_AUTO;
	else if (strcmp(text, "notify") == 0)
		*ret = PUBLISH_NOTIFY;
	else
		return err_set(err, ERR_CONFIG, "\"%.64s\" is neither auto nor notify", text);
	return 0;
}

const struct option_spec config_root_table[] = {
	{ .name = "mountpoint", .type = OPTION_STRING, .help = "the directory to mount on" },
	{ .name = "store",
	  .type = OPTION_STRING,
	  .help = "the directory that keeps the snapshots, or memory" },
	{ .name = "start_timeout",
	  .type = OPTION_DURATION,
	  .default_text = "30s",
	  .help = "how long the start waits for the first attempts" },
	{ .name = "allow_other",
	  .type = OPTION_BOOL,
	  .help = "other users may see the mount; true for root if left out" },
	{ .name = "user",
	  .type = OPTION_STRING,
	  .help = "whom the worker of a root's mount runs as; rptfs if left out" },
	{ .name = "sandbox",
	  .type = OPTION_BOOL,
	  .default_text = "true",
	  .help = "the worker can reach its store and the network only" },
	{ .name = "publish_mode",
	  .type = OPTION_CUSTOM,
	  .parse = parse_publish_mode,
	  .default_text = "auto",
	  .help = "how names move: auto, by rename where that is possible; or notify" },
	{ .name = "prewarm_total",
	  .type = OPTION_SIZE,
	  .default_text = "1GiB",
	  .help = "how much of all terms is put into memory before it is asked for" },
	{ .name = NULL },
};

static int loader_init(struct loader *loader, const struct config_request *request)
{
	struct err err = ERR_INIT;

	*loader = (struct loader){
		.request = request,
		.schema = { config_root_table, config_term_table, request->types },
		.cwd = getcwd(NULL, 0),
	};
	/* A directory that is gone: what is relative to it cannot be right anyway. */
	if (!loader->cwd)
		loader->cwd = strdup("/");
	if (!loader->cwd || options_new(&loader->root, config_root_table, &err) < 0 ||
	    options_new(&loader->command_root, config_root_table, &err) < 0 ||
	    options_new(&loader->defaults, config_term_table, &err) < 0 ||
	    options_new(&loader->command, config_term_table, &err) < 0)
		return -1;
	return 0;
}

static void loader_release(struct loader *loader)
{
	for (size_t i = 0; i < loader->n_drafts; i++)
		draft_release(&loader->drafts[i]);
	free(loader->drafts);
	for (unsigned i = 0; i < loader->n_files; i++)
		free(loader->files[i].path);
	free(loader->files);
	for (size_t i = 0; i < loader->n_includes; i++)
		free(loader->includes[i].pattern);
	free(loader->includes);
	options_free(loader->root);
	options_free(loader->command_root);
	options_free(loader->defaults);
	options_free(loader->command);
	problems_release(&loader->problems);
	free(loader->cwd);
}

/* The option of the root: what the command line says wins. */
static const struct options *root_giver(const struct loader *loader, const char *name)
{
	return options_is_set(loader->command_root, name) ? loader->command_root : loader->root;
}

static int set_mountpoint(struct loader *loader, struct config *config)
{
	const char *asked = loader->request->mountpoint;
	const char *filed = options_string(loader->root, "mountpoint");

	if (asked && !*asked) {
		problem_add(&loader->problems, (struct place){ 0, 0 }, NULL,
			    "the mount point is empty");
		return -1;
	}
	if (asked)
		config->mountpoint = path_absolute(loader->cwd, asked);
	else if (filed)
		config->mountpoint = strdup(filed);
	if ((asked || filed) && !config->mountpoint) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
	return 0;
}

/* Where stores are by default: /var/lib/rptfs, or in the user's home. NULL with errno 0: there is
 * no home; else out of memory. The caller's. */
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

static int set_default_store(struct loader *loader, struct config *config)
{
	_cleanup_free_ char *stores = default_stores();

	if (!stores && errno == 0) {
		problem_add(&loader->problems, (struct place){ 0, 0 }, NULL,
			    "no home directory for the store: give an option \"store\"");
		return -1;
	}
	_cleanup_free_ char *escaped = stores ? path_escape(config->mountpoint) : NULL;
	config->store = escaped ? path_absolute(stores, escaped) : NULL;
	if (!config->store) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
	return 0;
}

static int set_store(struct loader *loader, struct config *config)
{
	const struct options *from = root_giver(loader, "store");
	const char *given = options_string(from, "store");
	struct place place = from == loader->root ? loader->store_place : (struct place){ 0, 0 };

	if (!given)
		return config->mountpoint ? set_default_store(loader, config) : 0;
	if (!*given) {
		/* Of a file it is noted already. */
		if (from == loader->command_root)
			problem_add(&loader->problems, place, NULL, "store: the path is empty");
		return -1;
	}
	config->store = strcmp(given, "memory") == 0 ? strdup(given)
						     : path_absolute(loader->cwd, given);
	if (!config->store) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
	size_t len = config->mountpoint ? strlen(config->mountpoint) : 0;
	if (len > 1 && strncmp(config->store, config->mountpoint, len) == 0 &&
	    (config->store[len] == '/' || config->store[len] == '\0')) {
		problem_add(&loader->problems, place, NULL,
			    "store: %s lies below the mount point, which would hide it", given);
		return -1;
	}
	return 0;
}

/* The drafts' terms become the configuration's. */
static int take_terms(struct loader *loader, struct config *config)
{
	if (loader->n_drafts == 0)
		return 0;
	config->terms = calloc(loader->n_drafts, sizeof(*config->terms));
	if (!config->terms) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
	for (size_t i = 0; i < loader->n_drafts; i++) {
		config->terms[i] = loader->drafts[i].term;
		loader->drafts[i].term = (struct term_config){ 0 };
	}
	config->n_terms = loader->n_drafts;
	return 0;
}

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
	load_finish_terms(loader);
	if (set_mountpoint(loader, config) < 0 || set_store(loader, config) < 0 ||
	    problems_any(&loader->problems) || take_terms(loader, config) < 0)
		return -1;

	const struct options *timeout = root_giver(loader, "start_timeout");
	const struct options *other = root_giver(loader, "allow_other");
	config->start_timeout_ms = options_duration_ms(timeout, "start_timeout");
	config->allow_other = options_is_set(other, "allow_other")
				      ? options_bool(other, "allow_other")
				      : geteuid() == 0;
	config->sandbox = options_bool(root_giver(loader, "sandbox"), "sandbox");
	config->publish_mode = (enum config_publish_mode)options_int(
		root_giver(loader, "publish_mode"), "publish_mode");
	config->prewarm_total_bytes = options_size_bytes(root_giver(loader, "prewarm_total"),
							 "prewarm_total");
	const char *user = options_string(root_giver(loader, "user"), "user");
	if (user && !(config->user = strdup(user))) {
		problem_out_of_memory(&loader->problems);
		return -1;
	}
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

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_terms; i++)
		term_config_release(&config->terms[i]);
	free(config->terms);
	free(config->mountpoint);
	free(config->store);
	free(config->user);
	free(config);
}
