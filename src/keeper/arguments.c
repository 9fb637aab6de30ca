#include "keeper/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/util.h"
#include "config/show.h"

#define CONFIG_DIR "/etc/rptfs"

/* The terms for other processes, one a line: see arguments_pass_terms(). */
#define PASSED ARGUMENTS_TERMS

static const char usage_text[] =
	"usage: rptfs [-c FILE] [-f] [-d] [-o OPT,...] [MOUNTPOINT] [NAME=URL ...]\n"
	"       rptfs SRC MOUNTPOINT [-o OPT,...]     called by mount -t fuse.rptfs; SRC is a\n"
	"                                             configuration file, or NAME for\n"
	"                                             " CONFIG_DIR "/NAME.conf\n"
	"\n"
	"Mounts remote terms as files: each NAME is a file below MOUNTPOINT that follows URL\n"
	"(http, https, file, s3). For more options use a configuration file: rptfs.conf(5).\n"
	"\n"
	"  -c, --config FILE   read this configuration\n"
	"  -f, --foreground    stay in the foreground, log to standard error\n"
	"  -d, --debug         foreground, and log each FUSE request\n"
	"  -o OPT,...          options of the configuration file, for all terms; see below\n"
	"      --check-config  check the configuration and the files that it names, mount nothing\n"
	"      --credentials-directory DIR\n"
	"                      with --check-config: the directory for ${CREDENTIALS_DIRECTORY}\n"
	"      --show-config   print the effective configuration, secrets masked\n"
	"  -h, --help          print this text\n"
	"  -V, --version       print the version\n"
	"\n"
	"Exit codes: 0 mounted, and each eager term was checked; 1 usage or configuration;\n"
	"32 mount failed.\n";

void arguments_usage(void)
{
	fputs(usage_text, stdout);
	fputs("\nOptions of -o, with their defaults:\n", stdout);
	config_show_help(stdout);
}

static int complain(const char *what, const char *which)
{
	fprintf(stderr, "rptfs: %s%s\nrptfs: try --help\n", what, which);
	return -1;
}

static int out_of_memory(void)
{
	return complain("out of memory", "");
}

/* Absolute without touching the file system: a mountpoint may hang. */
static char *absolute(const char *path)
{
	_cleanup_free_ char *cwd = NULL;
	char *joined = NULL;

	if (path[0] == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&joined, "%s/%s", cwd, path) < 0)
		return NULL;
	return joined;
}

static size_t count_commas(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == ',';
	return n;
}

static size_t count(const char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

/* Splits at commas; "\," stands for a comma in a value. */
static int add_options(struct arguments *arguments, const char *text)
{
	size_t n = count((const char *const *)arguments->options);

	char **grown = realloc(arguments->options,
			       (n + count_commas(text) + 2) * sizeof(*arguments->options));
	if (!grown)
		return out_of_memory();
	arguments->option_texts[count(arguments->option_texts)] = text;
	arguments->options = grown;
	arguments->options[n] = NULL;
	_cleanup_free_ char *item = malloc(strlen(text) + 1);
	if (!item)
		return out_of_memory();
	while (*text) {
		size_t len = 0;
		for (; *text && *text != ','; text++) {
			if (text[0] == '\\' && text[1] == ',')
				text++;
			item[len++] = *text;
		}
		item[len] = '\0';
		text += *text == ',';
		if (!len)
			continue;
		if (!(arguments->options[n] = strdup(item)))
			return out_of_memory();
		arguments->options[++n] = NULL;
	}
	return 0;
}

static int set_path(char **place, const char *path, const char *twice)
{
	if (*place)
		return complain(twice, "");
	*place = absolute(path);
	return *place ? 0 : out_of_memory();
}

static int set_source(struct arguments *arguments, const char *source)
{
	char named[PATH_MAX];

	if (!strchr(source, '/')) {
		snprintf(named, sizeof(named), CONFIG_DIR "/%s.conf", source);
		source = named;
	}
	return set_path(&arguments->file, source, "a configuration file is given twice");
}

/* The name of a term never begins with '/' or '.', which distinguishes NAME=URL from a path. */
static bool is_term(const char *text)
{
	return text[0] != '/' && text[0] != '.' && strchr(text, '=');
}

/* A URL without NAME=, though its query may hold "=". */
static bool is_nameless_url(const char *text)
{
	const char *scheme_end = strstr(text, "://");

	return scheme_end && text[0] != '/' && text[0] != '.' &&
	       strcspn(text, "=") > (size_t)(scheme_end - text);
}

/* Others see the arguments of a process in /proc, so only the name is left there. */
static void hide_url(char *term)
{
	char *url = strchr(term, '=') + 1;

	memset(url, '*', strlen(url));
}

/* Makes terms of the lines of the text. */
static int split_terms(struct arguments *arguments, const char *lines)
{
	size_t n = 0;

	for (const char *at = lines; *at; at++)
		n += *at == '\n';
	arguments->terms = calloc(n + 1, sizeof(*arguments->terms));
	arguments->term_texts = secret_new(strlen(lines) + 1);
	if (!arguments->terms || !arguments->term_texts)
		return out_of_memory();
	char *rest = strcpy(arguments->term_texts, lines);
	for (size_t i = 0; i < n; i++) {
		arguments->terms[i] = rest;
		rest = strchr(rest, '\n');
		*rest++ = '\0';
	}
	return 0;
}

/* Takes the terms from the command line, or from the environment, where another process has put
 * them, and wipes them there. */
static int keep_terms(struct arguments *arguments, char **given, size_t n_given)
{
	char *passed = getenv(PASSED);
	size_t size = sizeof(PASSED "=") + (passed ? strlen(passed) : 0);

	if (!passed && n_given == 0) {
		arguments->terms = calloc(1, sizeof(*arguments->terms));
		return arguments->terms ? 0 : out_of_memory();
	}
	for (size_t i = 0; i < n_given; i++)
		size += strlen(given[i]) + 1;
	arguments->passed_terms = secret_new(size);
	if (!arguments->passed_terms)
		return out_of_memory();
	char *end = stpcpy(arguments->passed_terms, PASSED "=");
	const char *lines = end;
	if (passed && arguments->role != ROLE_COMMAND)
		end = stpcpy(end, passed);
	for (size_t i = 0; i < n_given; i++) {
		end = stpcpy(stpcpy(end, given[i]), "\n");
		hide_url(given[i]);
	}
	if (passed)
		secret_wipe(passed, strlen(passed));
	unsetenv(PASSED);
	return split_terms(arguments, lines);
}

void arguments_pass_terms(const struct arguments *arguments)
{
	if (arguments->terms[0])
		putenv(arguments->passed_terms);
}

static int sort_positionals(struct arguments *arguments, int argc, char **argv)
{
	const char *paths[2];
	size_t n_paths = 0, n_terms = 0;

	for (int i = 0; i < argc; i++) {
		if (is_nameless_url(argv[i])) /* it may contain a password, so it is not shown */
			return complain("a URL needs a name: NAME=URL, such as "
					"flags.json=https://example.com/flags.json",
					"");
		if (is_term(argv[i]))
			argv[n_terms++] = argv[i];
		else if (n_paths == ARRAY_SIZE(paths))
			return complain("too many arguments: ", argv[i]);
		else
			paths[n_paths++] = argv[i];
	}
	if (keep_terms(arguments, argv, n_terms) < 0)
		return -1;
	if (n_paths == 2 && set_source(arguments, paths[0]) < 0)
		return -1;
	if (n_paths > 0 &&
	    set_path(&arguments->mountpoint, paths[n_paths - 1], "two mountpoints") < 0)
		return -1;
	return 0;
}

enum { OPT_CHECK = 256, OPT_SHOW, OPT_LIST, OPT_CREDENTIALS, OPT_OFFER, OPT_ROLE };

/* The command line of each role: its argv[0], and the option that takes its descriptors. */
static const struct {
	const char *name, *option;
	bool loads_config; /* from the files */
} roles[] = {
	[ROLE_KEEPER] = { "rptfs-keeper", "--keeper", true },
	[ROLE_RENDER] = { "rptfs", "--render", true },
	[ROLE_WORKER] = { "rptfs-worker", "--worker", false },
	[ROLE_HELPER] = { "rptfs-helper", "--helper", false },
	[ROLE_EXECUTOR] = { "rptfs-executor", "--executor", false },
	[ROLE_INIT] = { "rptfs-init", "--init", false },
	[ROLE_VISITOR] = { "rptfs-visitor", "--visitor", false },
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "debug", no_argument, NULL, 'd' },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "show-config", no_argument, NULL, OPT_SHOW },
	{ "list-options", no_argument, NULL, OPT_LIST },
	{ "credentials-directory", required_argument, NULL, OPT_CREDENTIALS },
	{ "offer-namespace", no_argument, NULL, OPT_OFFER },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "keeper", required_argument, NULL, OPT_ROLE + ROLE_KEEPER },
	{ "render", required_argument, NULL, OPT_ROLE + ROLE_RENDER },
	{ "worker", required_argument, NULL, OPT_ROLE + ROLE_WORKER },
	{ "helper", required_argument, NULL, OPT_ROLE + ROLE_HELPER },
	{ "executor", required_argument, NULL, OPT_ROLE + ROLE_EXECUTOR },
	{ "init", required_argument, NULL, OPT_ROLE + ROLE_INIT },
	{ "visitor", required_argument, NULL, OPT_ROLE + ROLE_VISITOR },
	{ NULL, 0, NULL, 0 },
};

static int take_role(struct arguments *arguments, enum arguments_role role)
{
	int *fds = arguments->descriptors;

	arguments->role = role;
	if (sscanf(optarg, "%d,%d", &fds[0], &fds[1]) < 1)
		return complain("for internal use only: ", roles[role].option);
	return 0;
}

static int take_option(struct arguments *arguments, int option)
{
	switch (option) {
	case 'c':
		return set_path(&arguments->file, optarg, "a configuration file is given twice");
	case 'f':
		arguments->foreground = true;
		return 0;
	case 'd':
		arguments->foreground = arguments->debug = true;
		return 0;
	case 'o':
		return add_options(arguments, optarg);
	case 'h':
		arguments->help = true;
		return 0;
	case 'V':
		arguments->version = true;
		return 0;
	case OPT_CHECK:
		arguments->check_config = true;
		return 0;
	case OPT_CREDENTIALS:
		arguments->credentials_directory = optarg;
		return 0;
	case OPT_LIST:
		arguments->list_options = true;
		return 0;
	case OPT_SHOW:
		arguments->show_config = true;
		return 0;
	case OPT_OFFER:
		arguments->role = ROLE_OFFER;
		return 0;
	case OPT_ROLE + ROLE_KEEPER:
	case OPT_ROLE + ROLE_RENDER:
	case OPT_ROLE + ROLE_WORKER:
	case OPT_ROLE + ROLE_HELPER:
	case OPT_ROLE + ROLE_EXECUTOR:
	case OPT_ROLE + ROLE_INIT:
	case OPT_ROLE + ROLE_VISITOR:
		return take_role(arguments, (enum arguments_role)(option - OPT_ROLE));
	default: /* getopt has printed the reason */
		fputs("rptfs: try --help\n", stderr);
		return -1;
	}
}

int arguments_parse(struct arguments *ret, int argc, char **argv)
{
	static char program[] = "rptfs";
	int option;

	*ret = (struct arguments){
		.role = ROLE_COMMAND,
		.descriptors = { -1, -1 },
		.option_texts = calloc((size_t)argc + 1, sizeof(*ret->option_texts)),
	};
	if (!ret->option_texts)
		return out_of_memory();
	argv[0] = program; /* the prefix of getopt's messages */
	while ((option = getopt_long(argc, argv, "c:fdo:hV", long_options, NULL)) != -1) {
		if (take_option(ret, option) < 0)
			return -1;
	}
	if (ret->credentials_directory && !ret->check_config)
		return complain("--credentials-directory is for --check-config", "");
	return sort_positionals(ret, argc - optind, argv + optind);
}

void arguments_release(struct arguments *arguments)
{
	for (char **option = arguments->options; option && *option; option++)
		free(*option);
	free(arguments->options);
	free(arguments->option_texts);
	free(arguments->terms);
	secret_free(arguments->term_texts);
	unsetenv(PASSED); /* its text ends here */
	secret_free(arguments->passed_terms);
	free(arguments->file);
	free(arguments->mountpoint);
}

static size_t add_config(const struct arguments *arguments, char **argv)
{
	size_t n = 0;

	if (arguments->file) {
		argv[n++] = (char *)"-c";
		argv[n++] = arguments->file;
	}
	for (size_t i = 0; arguments->option_texts[i]; i++) {
		argv[n++] = (char *)"-o";
		argv[n++] = (char *)arguments->option_texts[i];
	}
	if (arguments->mountpoint)
		argv[n++] = arguments->mountpoint;
	return n;
}

char **arguments_for(const struct arguments *arguments, enum arguments_role role, char *descriptors)
{
	size_t n = 0;
	char **argv = calloc(10 + 2 * count(arguments->option_texts), sizeof(*argv));

	if (!argv)
		return NULL;
	argv[n++] = (char *)roles[role].name;
	argv[n++] = (char *)roles[role].option;
	argv[n++] = descriptors;
	if (arguments->foreground)
		argv[n++] = (char *)(arguments->debug ? "-d" : "-f");
	if (roles[role].loads_config)
		n += add_config(arguments, argv + n);
	else if (role == ROLE_VISITOR)
		argv[n++] = arguments->mountpoint;
	argv[n] = NULL;
	return argv;
}
