/*
 * rptfs: arguments and wiring. The command becomes the keeper, which executes it again in its other
 * roles.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "keeper/arguments.h"
#include "base/build.h"
#include "base/log.h"
#include "base/util.h"
#include "base/daemonize.h"
#include "keeper/keeper.h"
#include "keeper/launch.h"
#include "fetch/fetcher.h"
#include "helper/helper.h"
#include "worker/sandbox.h"
#include "worker/worker.h"
#include "fetchers/registry.h"
#include "mount/publish/visitor.h"
#include "config/config.h"

#define EXIT_USAGE 1

DEFINE_CLEANUP(struct config, config_free)

/* From the files and the command line. */
static int load(const struct arguments *arguments, struct config **ret)
{
	struct config_request request = {
		.file = arguments->file,
		.mountpoint = arguments->mountpoint,
		.options = (const char *const *)arguments->options,
		.terms = arguments->terms,
		.types = fetcher_types,
	};

	if (!arguments->file && !arguments->terms[0]) {
		fputs("rptfs: nothing to mount: neither a configuration file (-c FILE) nor "
		      "NAME=URL\n"
		      "rptfs: try --help\n",
		      stderr);
		return -1;
	}
	return config_load(ret, &request, stderr);
}

/* The effective configuration, from a descriptor. */
static int load_effective(int fd, struct helper *helper, struct config **ret)
{
	char path[32];
	struct config_request request = {
		.file = path,
		.types = fetcher_types,
		.helper = helper,
	};

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return config_load(ret, &request, stderr);
}

static int run_worker(const struct arguments *arguments)
{
	char kind[KEEPER_KIND_SIZE];
	struct worker_setup setup = {
		.load = load_effective,
		.keeper_kind = keeper_kind(kind),
		.channel = arguments->descriptors[0],
		.foreground = arguments->foreground,
		.debug = arguments->debug,
	};

	fcntl(setup.channel, F_SETFD, FD_CLOEXEC);
	return worker_run(&setup);
}

static int run_helper(const struct arguments *arguments)
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;
	_cleanup_close_ int effective = arguments->descriptors[1];
	struct helper_setup setup = {
		.socket = arguments->descriptors[0],
		.types = fetcher_types,
	};

	fcntl(setup.socket, F_SETFD, FD_CLOEXEC);
	/* Whoever waits for the command to say no more does not wait for this process. */
	if (!arguments->foreground)
		daemonize_detach();
	if (load_effective(effective, NULL, &config) < 0)
		return EXIT_USAGE;
	close(steal_fd(&effective));
	setup.config = config;
	return helper_serve(&setup);
}

static int run_visitor(const struct arguments *arguments)
{
	struct err err = ERR_INIT;

	prctl(PR_SET_NAME, "rptfs-visitor");
	fcntl(arguments->descriptors[0], F_SETFD, FD_CLOEXEC);
	if (!arguments->foreground)
		daemonize_detach();
	if (sandbox_enter_visitor(&err) < 0) {
		log_event(LOG_LEVEL_ERROR, "visitor_failed", LOG_STR("error", err.msg));
		return EXIT_USAGE;
	}
	return visitor_serve(arguments->descriptors[0], arguments->descriptors[1],
			     arguments->mountpoint);
}

static int complain(const struct err *err)
{
	fprintf(stderr, "rptfs: %s\n", err->msg);
	return EXIT_USAGE;
}

/* Of an upgrade: what the files say now, if the mount can go on with it. */
static int run_render(const struct arguments *arguments)
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;
	_cleanup_(config_free_cleanup) struct config *old = NULL;
	struct err err = ERR_INIT;

	if (load(arguments, &config) < 0 ||
	    load_effective(arguments->descriptors[1], NULL, &old) < 0)
		return EXIT_USAGE;
	if (launch_compare(old, config, &err) < 0 ||
	    launch_render(config, arguments->descriptors[0], &err) < 0)
		return complain(&err);
	return 0;
}

/* The keeper has no use for the configuration (NULL: there is none). */
static void give_memory_back(void *config)
{
	config_free(config);
	malloc_trim(0);
}

/* As the keeper for the rest of its life. ready_fd as keeper_run(). Takes the configuration. */
static int keep(const struct arguments *arguments, struct keeper_state *state, int ready_fd,
		struct config *config)
{
	char descriptors[KEEPER_DESCRIPTORS_SIZE] = "";
	_cleanup_free_ char **worker = arguments_for(arguments, ROLE_WORKER, descriptors);
	_cleanup_free_ char **helper = arguments_for(arguments, ROLE_HELPER, descriptors);
	const struct arguments where = {
		.mountpoint = state->mountpoint,
		.foreground = arguments->foreground,
		.option_texts = arguments->option_texts,
		.terms = arguments->terms,
	};
	_cleanup_free_ char **visitor = arguments_for(&where, ROLE_VISITOR, descriptors);
	_cleanup_free_ char **render = arguments_for(arguments, ROLE_RENDER, descriptors);
	_cleanup_free_ char **keeper = arguments_for(arguments, ROLE_KEEPER, descriptors);
	const struct keeper_commands commands = { worker, helper, visitor,
						  render, keeper, descriptors };

	if (!worker || !helper || !visitor || !render || !keeper) {
		config_free(config);
		return EXIT_USAGE;
	}
	return keeper_run(state, &commands, ready_fd, give_memory_back, config);
}

static int run_keeper(const struct arguments *arguments)
{
	static struct keeper_state state;

	if (!keeper_inherit(arguments->descriptors[0], &state)) {
		fputs("rptfs: the keeper before this one has other ideas\n", stderr);
		return EXIT_USAGE;
	}
	if (state.is_detached)
		daemonize_detach();
	return keep(arguments, &state, -1, NULL);
}

/* Takes the configuration. */
static int run_command(const struct arguments *arguments, struct config *taken,
		       struct systemd_stored *kept)
{
	_cleanup_(config_free_cleanup) struct config *config = taken;
	static struct keeper_state state;
	struct err err = ERR_INIT;
	int ready_fd = -1;

	int code = launch(&state, config, kept, arguments->debug, &err);
	if (code) {
		complain(&err);
		return code;
	}
	int parent = arguments->foreground ? 0 : daemonize(&ready_fd, &code, &err);
	if (parent < 0) {
		launch_undo(&state);
		return complain(&err);
	}
	return parent ? code : keep(arguments, &state, ready_fd, steal_ptr(&config));
}

static int compare_numbers(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* What else is open is the caller's, who does not expect it to stay so with the mount. */
static void close_others(const struct systemd_stored *kept)
{
	int numbers[] = { STDERR_FILENO, kept->device, kept->slots, kept->store };

	qsort(numbers, ARRAY_SIZE(numbers), sizeof(*numbers), compare_numbers);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		bool is_last = i + 1 == ARRAY_SIZE(numbers);
		unsigned first = (unsigned)numbers[i] + 1;
		unsigned last = is_last ? ~0U : (unsigned)numbers[i + 1] - 1;
		if (numbers[i] >= STDERR_FILENO && first <= last)
			close_range(first, last, 0);
	}
}

/* A restart does not end a mount because somebody is at work on the file. */
static int load_kept(const struct systemd_stored *kept, struct config **ret)
{
	if (kept->device < 0 || kept->config < 0 || load_effective(kept->config, NULL, ret) < 0)
		return -1;
	log_event(LOG_LEVEL_ERROR, "config_refused",
		  LOG_STR("next", "going on with the one that was in effect"));
	return 0;
}

static int mount_terms(const struct arguments *arguments)
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;
	struct systemd_stored kept;

	systemd_take_stored(&kept);
	if (load(arguments, &config) < 0 && load_kept(&kept, &config) < 0)
		return EXIT_USAGE;
	close_cleanup(&kept.config);
	if (arguments->show_config) {
		config_show(config, CONFIG_SECRETS_MASKED, stdout);
		return 0;
	}
	if (arguments->check_config) {
		printf("the configuration is good: %zu %s\n", config->n_terms,
		       config->n_terms == 1 ? "term" : "terms");
		return 0;
	}
	if (!config->mountpoint) {
		fputs("rptfs: no mountpoint: name one on the command line or in the "
		      "configuration\n",
		      stderr);
		return EXIT_USAGE;
	}
	close_others(&kept);
	return run_command(arguments, steal_ptr(&config), &kept);
}

static int run(const struct arguments *arguments)
{
	switch (arguments->role) {
	case ROLE_COMMAND:
		return mount_terms(arguments);
	case ROLE_KEEPER:
		return run_keeper(arguments);
	case ROLE_RENDER:
		return run_render(arguments);
	case ROLE_WORKER:
		return run_worker(arguments);
	case ROLE_HELPER:
		return run_helper(arguments);
	case ROLE_VISITOR:
		return run_visitor(arguments);
	}
	return EXIT_USAGE;
}

/* The numbers of the standard streams are never those of something else. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	_cleanup_(arguments_release) struct arguments arguments;
	char version[BUILD_VERSION_SIZE];

	open_standard_streams();
	if (arguments_parse(&arguments, argc, argv) < 0)
		return EXIT_USAGE;
	if (arguments.debug)
		log_set_level(LOG_LEVEL_DEBUG);
	if (arguments.help) {
		arguments_usage();
		return 0;
	}
	if (arguments.version) {
		printf("rptfs %s\n", build_version(version));
		return 0;
	}
	return run(&arguments);
}
