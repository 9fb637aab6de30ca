/*
 * rptfs: arguments and wiring. The command mounts; its keeper executes it again as the worker, and
 * as the runner.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "arguments.h"
#include "base/log.h"
#include "base/util.h"
#include "daemon/daemonize.h"
#include "daemon/keeper.h"
#include "daemon/runner.h"
#include "daemon/worker.h"
#include "fetchers/aws_credentials.h"
#include "fetchers/registry.h"
#include "term/config.h"

#define EXIT_USAGE 1

DEFINE_CLEANUP(struct config, config_free)

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

static int run_worker(const struct arguments *arguments, const struct config *config)
{
	struct worker_setup setup = {
		.config = config,
		.channel = arguments->channel,
		.foreground = arguments->foreground,
		.debug = arguments->debug,
	};

	fcntl(setup.channel, F_SETFD, FD_CLOEXEC);
	return worker_run(&setup);
}

static int run_runner(const struct arguments *arguments)
{
	struct runner_setup setup = {
		.socket = arguments->requests,
		.command = aws_credential_process,
	};

	fcntl(setup.socket, F_SETFD, FD_CLOEXEC);
	return runner_serve(&setup);
}

/* The keeper needs two things of the configuration; the rest, which may be of ten thousand terms,
 * is not kept for the life of the mount. Takes the configuration. */
static int run_keeper(const struct arguments *arguments, struct config *config)
{
	char descriptor[KEEPER_DESCRIPTOR_SIZE] = "";
	_cleanup_free_ char **worker_argv = arguments_for(arguments, &arguments_worker, descriptor);
	_cleanup_free_ char **runner_argv = arguments_for(arguments, &arguments_runner, descriptor);
	_cleanup_free_ char *mountpoint = steal_ptr(&config->mountpoint);
	struct keeper_setup setup = {
		.mountpoint = mountpoint,
		.allow_other = config->allow_other,
		.worker_argv = worker_argv,
		.runner_argv = runner_argv,
		.descriptor_argument = descriptor,
		.ready_fd = -1,
	};
	struct err err = ERR_INIT;
	int code = EXIT_USAGE;

	config_free(config);
	malloc_trim(0);
	if (!worker_argv || !runner_argv)
		return EXIT_USAGE;
	int parent = arguments->foreground ? 0 : daemonize(&setup.ready_fd, &code, &err);
	if (parent < 0)
		fprintf(stderr, "rptfs: %s\n", err.msg);
	return parent ? code : keeper_run(&setup);
}

static int run(const struct arguments *arguments)
{
	_cleanup_(config_free_cleanup) struct config *config = NULL;

	if (load(arguments, &config) < 0)
		return EXIT_USAGE;
	if (arguments->show_config) {
		config_show(config, stdout);
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
	if (arguments->requests >= 0)
		return run_runner(arguments);
	return arguments->channel >= 0 ? run_worker(arguments, config)
				       : run_keeper(arguments, steal_ptr(&config));
}

int main(int argc, char **argv)
{
	_cleanup_(arguments_release) struct arguments arguments;

	if (arguments_parse(&arguments, argc, argv) < 0)
		return EXIT_USAGE;
	if (arguments.debug)
		log_set_level(LOG_LEVEL_DEBUG);
	if (arguments.help) {
		arguments_usage();
		return 0;
	}
	if (arguments.version) {
		puts("rptfs " RPTFS_VERSION);
		return 0;
	}
	return run(&arguments);
}
