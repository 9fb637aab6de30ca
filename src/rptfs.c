/*
 * rptfs: arguments and wiring. Every process of a mount is this program in another role: the
 * command becomes the keeper, and the keeper executes the program again in the other roles. Each
 * run_…() function below is the start of one of these processes.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/build.h"
#include "base/daemonize.h"
#include "base/fd_path.h"
#include "base/log.h"
#include "base/util.h"
#include "config/check_named.h"
#include "config/config.h"
#include "config/image.h"
#include "config/load.h"
#include "config/show.h"
#include "fetchers/registry.h"
#include "helper/helper.h"
#include "keeper/arguments.h"
#include "keeper/inherited.h"
#include "keeper/keeper.h"
#include "keeper/launch.h"
#include "keeper/machine_namespace.h"
#include "keeper/pid_namespace.h"
#include "keeper/store_directory.h"
#include "mount/visitor/visitor.h"
#include "worker/sandbox.h"
#include "worker/worker.h"

#define EXIT_USAGE 1
#define WIPED	   0xff /* any byte */

DEFINE_CLEANUP(struct config, config_free)

static int fail_usage(const struct err *err)
{
	fprintf(stderr, "rptfs: %s\n", err->msg);
	return EXIT_USAGE;
}

/* Loads the configuration from the files and the command line. */
static int load(const struct arguments *arguments, struct config **ret)
{
	struct config_request request = {
		.file = arguments->file,
		.mountpoint = arguments->mountpoint,
		.options = (const char *const *)arguments->options,
		.terms = arguments->terms,
		.types = fetcher_types,
		.check_store = store_directory_check,
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

/* Loads the effective configuration from a descriptor, with the states of its sources. helper: NULL
 * if this process may open all files that it names. */
static int load_effective(int fd, struct helper *helper, struct config **ret, struct err *err)
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;

	if (config_image_read(&config, fd, fetcher_types, err) < 0 ||
	    config_init_sources(config, helper, err) < 0)
		return -1;
	*ret = steal_ptr(&config);
	return 0;
}

/* The same without states, and also from versions up to 0.1, which wrote a configuration file.
 * Remove that in January 2028. */
static int load_older(int fd, struct config **ret, struct err *err)
{
	char path[FD_PATH_SIZE];
	struct config_request request = { .file = fd_path(fd, path), .types = fetcher_types };

	if (config_image_is(fd))
		return config_image_read(ret, fd, fetcher_types, err);
	if (config_load(ret, &request, stderr) < 0)
		return err_set(err, ERR_CONFIG, "the configuration in effect cannot be loaded");
	return 0;
}

/* ---- the roles that the keeper starts ---- */

/* Unprivileged: the keeper has changed the user already. */
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

/* In the log, because standard error may be closed. */
static int fail_role(const char *event, const struct err *err)
{
	log_event(LOG_LEVEL_ERROR, event, LOG_STR("error", err->msg));
	return EXIT_USAGE;
}

/* A reader of the command's output must not wait for the end of this process. */
static void detach_helper(const struct arguments *arguments)
{
	fcntl(arguments->descriptors[0], F_SETFD, FD_CLOEXEC);
	if (!arguments->foreground)
		daemonize_detach();
}

/* The rights are those that the process has by now. */
static int serve_helper(const struct arguments *arguments, enum helper_role role,
			void (*confine)(void))
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;
	_cleanup_close_ int effective = arguments->descriptors[1];
	struct helper_setup setup = {
		.role = role,
		.socket = arguments->descriptors[0],
		.types = fetcher_types,
	};
	struct err err = ERR_INIT;

	if (load_effective(effective, NULL, &config, &err) < 0)
		return fail_role("helper_failed", &err);
	close(steal_fd(&effective));
	setup.config = config;
	if (helper_begin(&setup, &err) < 0)
		return fail_role("helper_failed", &err);
	if (confine)
		confine();
	return helper_serve(&setup);
}

/* The opener. With the rights of the user who started rptfs, most of which it drops first. */
static int run_helper(const struct arguments *arguments)
{
	struct err err = ERR_INIT;

	detach_helper(arguments);
	if (sandbox_enter_opener(&err) < 0)
		return fail_role("helper_failed", &err);
	return serve_helper(arguments, HELPER_OPENER, sandbox_confine_opener);
}

/* With the rights of the user who started rptfs. */
static int run_executor(const struct arguments *arguments)
{
	detach_helper(arguments);
	return serve_helper(arguments, HELPER_EXECUTOR, NULL);
}

/* With the rights of the user who started rptfs, which it drops first. */
static int run_visitor(const struct arguments *arguments)
{
	struct err err = ERR_INIT;

	prctl(PR_SET_NAME, "rptfs-visitor");
	fcntl(arguments->descriptors[0], F_SETFD, FD_CLOEXEC);
	/* In the keeper's session: until the start is over, it may have to pass an automounter. */
	if (!arguments->foreground)
		daemonize_silence();
	if (sandbox_enter_visitor(&err) < 0)
		return fail_role("visitor_failed", &err);
	return visitor_serve(arguments->descriptors[0], arguments->descriptors[1],
			     arguments->mountpoint);
}

/* In an upgrade: writes the effective configuration of the files as they are now, if the mount can
 * continue with it. With the rights of the user who started rptfs. */
static int run_render(const struct arguments *arguments)
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;
	_cleanup_(config_free_cleanup) struct config *old = NULL;
	struct err err = ERR_INIT;

	if (load(arguments, &config) < 0)
		return EXIT_USAGE;
	if (load_older(arguments->descriptors[1], &old, &err) < 0 ||
	    launch_compare(old, config, &err) < 0 ||
	    launch_render(config, arguments->descriptors[0], &err) < 0)
		return fail_usage(&err);
	return 0;
}

/* ---- before the command, in the unit ---- */

static int run_offer(void)
{
	struct err err = ERR_INIT;

	return machine_namespace_offer(&err) < 0 ? fail_usage(&err) : 0;
}

/* ---- the command and the keeper ---- */

/* The keeper does not need the configuration (NULL: none). */
static void free_config(void *config)
{
	config_free(config);
	malloc_trim(0);
}

/* Becomes the keeper. ready_fd: as for keeper_run(). Takes the configuration. */
static int keep(const struct arguments *arguments, struct keeper_state *state, int ready_fd,
		struct config *config)
{
	char descriptors[KEEPER_DESCRIPTORS_SIZE] = "";
	_cleanup_free_ char **worker = arguments_for(arguments, ROLE_WORKER, descriptors);
	_cleanup_free_ char **helper = arguments_for(arguments, ROLE_HELPER, descriptors);
	_cleanup_free_ char **executor = arguments_for(arguments, ROLE_EXECUTOR, descriptors);
	const struct arguments where = {
		.mountpoint = state->mountpoint,
		.foreground = arguments->foreground,
		.option_texts = arguments->option_texts,
	};
	_cleanup_free_ char **visitor = arguments_for(&where, ROLE_VISITOR, descriptors);
	_cleanup_free_ char **render = arguments_for(arguments, ROLE_RENDER, descriptors);
	_cleanup_free_ char **keeper = arguments_for(arguments, ROLE_KEEPER, descriptors);
	const struct keeper_commands commands = {
		.worker = worker,
		.helpers = { [HELPER_OPENER] = helper, [HELPER_EXECUTOR] = executor },
		.visitor = visitor,
		.render = render,
		.keeper = keeper,
		.descriptors = descriptors,
	};

	if (!worker || !helper || !executor || !visitor || !render || !keeper) {
		config_free(config);
		fputs("rptfs: out of memory\n", stderr);
		return EXIT_USAGE;
	}
	arguments_pass_terms(arguments);
	return keeper_run(state, &commands, ready_fd, free_config, config);
}

/* After an upgrade. With the rights of the user who started rptfs. */
static int run_keeper(const struct arguments *arguments)
{
	static struct keeper_state state;

	if (!keeper_inherit(arguments->descriptors[0], &state)) {
		fputs("rptfs: the state of the previous keeper has another layout\n", stderr);
		return EXIT_USAGE;
	}
	if (state.is_detached)
		daemonize_detach();
	return keep(arguments, &state, -1, NULL);
}

/* Takes the configuration. */
static int launch_keeper(const struct arguments *arguments, struct config *taken,
			 struct systemd_stored *stored)
{
	_cleanup_(config_free_cleanup) struct config *config = taken;
	static struct keeper_state state;
	struct err err = ERR_INIT;
	int ready_fd = -1;

	int code = launch(&state, config, stored, arguments->debug, &err);
	if (code) {
		fail_usage(&err);
		return code;
	}
	int parent = arguments->foreground ? 0 : daemonize(&ready_fd, &code, &err);
	if (parent < 0) {
		launch_undo(&state);
		return fail_usage(&err);
	}
	return parent ? code : keep(arguments, &state, ready_fd, steal_ptr(&config));
}

/* An error in the configuration file must not end the mount at a restart. */
static int load_stored(const struct systemd_stored *stored, struct config **ret)
{
	struct err err = ERR_INIT;

	if (stored->device < 0 || stored->config < 0)
		return -1;
	if (load_older(stored->config, ret, &err) < 0) {
		fail_usage(&err);
		return -1;
	}
	log_event(LOG_LEVEL_ERROR, "config_refused",
		  LOG_STR("next", "continuing with the configuration that was in effect"));
	return 0;
}

/* Warnings do not change the exit code: a file may be made before the start. */
static int report_check(const struct config *config)
{
	config_check_named(config, stderr);
	printf("the configuration is valid: %zu %s\n", config->n_terms,
	       config->n_terms == 1 ? "term" : "terms");
	return 0;
}

/* With the rights of the user who started rptfs. */
static int run_command(const struct arguments *arguments)
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;
	struct systemd_stored stored;

	if (arguments->credentials_directory)
		setenv("CREDENTIALS_DIRECTORY", arguments->credentials_directory, 1);
	systemd_take_stored(&stored);
	/* Freed memory is overwritten: copies of passwords must not stay in the keeper. */
	mallopt(M_PERTURB, WIPED);
	if (load(arguments, &config) < 0 && load_stored(&stored, &config) < 0)
		return EXIT_USAGE;
	close_cleanup(&stored.config);
	if (arguments->show_config) {
		config_show(config, stdout);
		return 0;
	}
	if (arguments->check_config)
		return report_check(config);
	if (!config->mountpoint) {
		fputs("rptfs: no mountpoint: name one on the command line or in the "
		      "configuration\n",
		      stderr);
		return EXIT_USAGE;
	}
	inherited_close_fds(&stored);
	inherited_reset_signals_and_umask();
	return launch_keeper(arguments, steal_ptr(&config), &stored);
}

static int run(const struct arguments *arguments)
{
	switch (arguments->role) {
	case ROLE_COMMAND:
		return run_command(arguments);
	case ROLE_KEEPER:
		return run_keeper(arguments);
	case ROLE_RENDER:
		return run_render(arguments);
	case ROLE_WORKER:
		return run_worker(arguments);
	case ROLE_HELPER:
		return run_helper(arguments);
	case ROLE_EXECUTOR:
		return run_executor(arguments);
	case ROLE_INIT:
		pid_namespace_init(arguments->descriptors[0]);
	case ROLE_VISITOR:
		return run_visitor(arguments);
	case ROLE_OFFER:
		return run_offer();
	}
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	_cleanup_(arguments_release) struct arguments arguments;
	char version[BUILD_VERSION_SIZE];

	inherited_open_standard();
	if (arguments_parse(&arguments, argc, argv) < 0)
		return EXIT_USAGE;
	if (arguments.debug)
		log_set_level(LOG_LEVEL_DEBUG);
	if (arguments.help) {
		arguments_usage();
		return 0;
	}
	if (arguments.list_options) {
		config_show_tables(fetcher_types, stdout);
		return 0;
	}
	if (arguments.version) {
		printf("rptfs %s\n", build_version(version));
		return 0;
	}
	return run(&arguments);
}
