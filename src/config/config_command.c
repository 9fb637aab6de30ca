/*
 * config_command: what the command line adds to the configuration: -o options and NAME=URL.
 */
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "config/config_load.h"
#include "config/config_name.h"

static const struct place command_line = { 0, 0 };

/* What mount(8) and fstab hand over, and what makes no difference to a read-only mount. */
static const char *const harmless[] = {
	"rw",	    "ro",
	"dev",	    "nodev",
	"suid",	    "nosuid",
	"exec",	    "noexec",
	"atime",    "noatime",
	"relatime", "norelatime",
	"diratime", "nodiratime",
	"auto",	    "noauto",
	"user",	    "nouser",
	"users",    "_netdev",
	"nofail",   "default_permissions",
};
static const char *const harmless_prefixes[] = { "fsname=", "subtype=", "comment=", "x-" };

static bool is_harmless(const char *option)
{
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++) {
		if (strcmp(option, harmless[i]) == 0)
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(harmless_prefixes); i++) {
		if (strncmp(option, harmless_prefixes[i], strlen(harmless_prefixes[i])) == 0)
			return true;
	}
	return false;
}

/* The options that "key" may name with -o, or NULL. */
static struct options *options_for(const struct loader *loader, const char *key)
{
	/* The mount point is an argument, and an alias belongs to one term. */
	if (strcmp(key, "mountpoint") == 0 || strcmp(key, "alias") == 0)
		return NULL;
	if (option_find(config_root_table, key))
		return loader->command_root;
	return option_find(config_term_table, key) ? loader->command : NULL;
}

static void refuse_option(struct loader *loader, const char *option, const char *key)
{
	const char *nearest = option_nearest(config_term_table, key);

	if (!nearest)
		nearest = option_nearest(config_root_table, key);
	if (nearest && options_for(loader, nearest))
		problem_add(&loader->problems, command_line, NULL,
			    "unknown option -o \"%s\"; did you mean \"%s\"?", option, nearest);
	else
		problem_add(&loader->problems, command_line, NULL, "unknown option -o \"%s\"",
			    option);
}

static void load_option(struct loader *loader, const char *option)
{
	_cleanup_free_ char *key = strdup(option);
	struct err err = ERR_INIT;

	if (!key) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	char *value = strchr(key, '=');
	if (value)
		*value++ = '\0';
	struct options *options = options_for(loader, key);
	if (!options) {
		refuse_option(loader, option, key);
		return;
	}
	if (!value) {
		if (option_find(options_table(options), key)->type != OPTION_BOOL) {
			problem_add(&loader->problems, command_line, NULL,
				    "option -o \"%s\" needs a value: %s=…", key, key);
			return;
		}
		value = "true";
	}
	if (options_set(options, key, value, &err) < 0)
		problem_add(&loader->problems, command_line, NULL, "-o %s", err.msg);
}

void load_command_options(struct loader *loader)
{
	for (const char *const *option = loader->request->options; option && *option; option++) {
		if (!is_harmless(*option))
			load_option(loader, *option);
	}
}

static const struct source_type *type_of_url(const struct loader *loader, const char *url)
{
	size_t len = strcspn(url, ":");

	if (strncmp(url + len, "://", 3) != 0)
		return NULL;
	for (const struct source_type *const *type = loader->schema.types; *type; type++) {
		for (const char *const *scheme = (*type)->url_schemes; scheme && *scheme;
		     scheme++) {
			if (strlen(*scheme) == len && strncasecmp(url, *scheme, len) == 0)
				return *type;
		}
	}
	return NULL;
}

/* "http://, https://, file://" */
static void list_schemes(const struct loader *loader, char *ret, size_t size)
{
	size_t used = 0;

	*ret = '\0';
	for (const struct source_type *const *type = loader->schema.types; *type; type++) {
		for (const char *const *scheme = (*type)->url_schemes; scheme && *scheme;
		     scheme++) {
			int n = snprintf(ret + used, size - used, "%s%s://", used ? ", " : "",
					 *scheme);
			if (n > 0 && (size_t)n < size - used)
				used += (size_t)n;
		}
	}
}

DEFINE_CLEANUP(struct options, options_free)

static int load_url(struct draft *draft, const struct source_type *type, const char *url,
		    struct err *err)
{
	_cleanup_(options_free_cleanup) struct options *options = NULL;

	if (options_new(&options, type->options, err) < 0 || type->from_url(options, url, err) < 0)
		return -1;
	/* NULL: only the command has arguments, and it has the rights of its user. */
	return load_source(draft, type, steal_ptr(&options), NULL, err);
}

static void load_command_term(struct loader *loader, const char *argument)
{
	const char *url = strchr(argument, '=');
	char schemes[256];
	struct err err = ERR_INIT;

	if (!url) {
		problem_add(&loader->problems, command_line, NULL,
			    "\"%s\" is not of the form NAME=URL", argument);
		return;
	}
	_cleanup_free_ char *name = strndup(argument, (size_t)(url++ - argument));
	struct draft *draft = name ? load_new_draft(loader, name, command_line) : NULL;
	if (!draft) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	if (name_check(name, &err) < 0)
		problem_add(&loader->problems, command_line, name, "%s", err.msg);
	const struct source_type *type = type_of_url(loader, url);
	if (!type) {
		/* Not the URL itself: there may be a password in it. */
		list_schemes(loader, schemes, sizeof(schemes));
		problem_add(&loader->problems, command_line, name,
			    "its URL does not begin with one of: %s", schemes);
		return;
	}
	if (load_url(draft, type, url, &err) < 0)
		problem_add(&loader->problems, command_line, name, "%s: %s", type->name, err.msg);
}

void load_command_terms(struct loader *loader)
{
	for (const char *const *term = loader->request->terms; term && *term; term++)
		load_command_term(loader, *term);
}
