/*
 * rpt: controls a running mount. This file parses arguments; rpt/ask.c runs the commands.
 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <string.h>

#include "base/build.h"
#include "base/nearest_name.h"
#include "base/util.h"
#include "rpt/ask.h"

#define MOUNT_DEFAULT "/mnt/rpt"
#define TRY_HELP      "Try \"rpt --help\".\n"

struct command {
	const char *name;
	const char *arguments;
	const char *help;
	bool takes_terms;
	bool takes_wait; /* and --force */
	enum ask_exit (*run)(const struct ask *ask);
};

static const struct command commands[] = {
	{ "status", "[--json] [TERM...]",
	  "show the served version and the update status of each term", true, false, ask_status },
	{ "refresh", "[--wait] [--force] [--json] [TERM...]",
	  "check the sources now, of all terms unless some are named", true, true, ask_refresh },
	{ "upgrade", "[--json]",
	  "switch to the installed rptfs and the current configuration files", false, false,
	  ask_upgrade },
};

static const struct option long_options[] = {
	{ "mount", required_argument, NULL, 'm' },
	{ "json", no_argument, NULL, 'j' },
	{ "wait", no_argument, NULL, 'w' },
	{ "force", no_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

static void print_help(void)
{
	printf("Usage: rpt [-m DIR] COMMAND [OPTION...] [TERM...]\n\n"
	       "Controls the rptfs mounted at DIR (default: $RPT_MOUNT, else " MOUNT_DEFAULT ").\n"
	       "A TERM is a name, an alias, or a path below DIR.\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %-38s %s\n", commands[i].name, commands[i].arguments,
		       commands[i].help);
	printf("\nOptions:\n"
	       "  -m, --mount DIR  the mount to control\n"
	       "      --json       print the answer as JSON, one object per line\n"
	       "      --wait       wait until each update has ended\n"
	       "      --force      ask without condition: fetch the content in any case\n"
	       "  -h, --help       show this text\n"
	       "  -V, --version    show the version\n"
	       "\nExit code: 0 done; 1 wrong usage, refused, or an update failed; 2 no answer from "
	       "the mount.\n");
}

/* Words that people try, and what does the work. */
static const struct {
	const char *name, *instead;
} other_words[] = {
	{ "reload", "\"rpt upgrade\" reads the configuration again" },
	{ "restart", "\"rpt upgrade\" replaces the processes while the mount stays" },
	{ "stop", "\"umount DIR\" ends a mount" },
	{ "umount", "\"umount DIR\" ends a mount" },
	{ "mount", "\"rptfs\" mounts" },
};

static enum ask_exit refuse_command(const char *name)
{
	struct nearest nearest = NEAREST_INIT(name);

	for (size_t i = 0; i < ARRAY_SIZE(other_words); i++) {
		if (strcmp(other_words[i].name, name) == 0) {
			fprintf(stderr, "rpt: there is no command \"%s\": %s\n", name,
				other_words[i].instead);
			return ASK_NO;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		nearest_consider(&nearest, commands[i].name);
	if (nearest.found)
		fprintf(stderr, "rpt: unknown command \"%s\"; did you mean \"%s\"?\n", name,
			nearest.found);
	else
		fprintf(stderr, "rpt: unknown command \"%s\"\n" TRY_HELP, name);
	return ASK_NO;
}

static enum ask_exit usage(const char *problem, const char *what)
{
	fprintf(stderr, "rpt: %s%s\n" TRY_HELP, problem, what);
	return ASK_NO;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* Fills *ret from the options. Returns true if the program must exit with *ret_code. */
static bool take_options(int argc, char **argv, struct ask *ret, enum ask_exit *ret_code)
{
	char version[BUILD_VERSION_SIZE];
	int option;

	while ((option = getopt_long(argc, argv, "m:hV", long_options, NULL)) != -1) {
		switch (option) {
		case 'm':
			ret->mount = optarg;
			break;
		case 'j':
			ret->json = true;
			break;
		case 'w':
			ret->wait = true;
			break;
		case 'f':
			ret->force = true;
			break;
		case 'h':
			print_help();
			*ret_code = ASK_OK;
			return true;
		case 'V':
			printf("rpt %s\n", build_version(version));
			*ret_code = ASK_OK;
			return true;
		default:
			fprintf(stderr, TRY_HELP);
			*ret_code = ASK_NO;
			return true;
		}
	}
	return false;
}

/* Printing may have failed: a full disk, a closed pipe. */
static enum ask_exit finish(enum ask_exit code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "rpt: standard output: %s\n", strerror(errno));
	return ASK_TROUBLE;
}

int main(int argc, char **argv)
{
	const char *mount = getenv("RPT_MOUNT");
	struct ask ask = { .mount = mount && *mount ? mount : MOUNT_DEFAULT };
	enum ask_exit code;

	setlocale(LC_CTYPE, "");
	if (take_options(argc, argv, &ask, &code))
		return finish(code);
	if (optind == argc)
		return usage("no command given", "");

	const struct command *command = find_command(argv[optind]);
	if (!command)
		return refuse_command(argv[optind]);
	if (ask.wait && !command->takes_wait)
		return usage("--wait is not an option of ", command->name);
	if (ask.force && !command->takes_wait)
		return usage("--force is not an option of ", command->name);
	if (argc > optind + 1 && !command->takes_terms)
		return usage("no terms can be given to ", command->name);
	ask.terms = (const char *const *)argv + optind + 1;
	ask.n_terms = (size_t)(argc - optind - 1);
	return finish(command->run(&ask));
}
