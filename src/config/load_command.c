/*
 * load_command: the configuration on the command line: -o OPTIONS and NAME=URL.
 */
#include <string.h>
#include <strings.h>

#include "base/nearest_name.h"
#include "base/util.h"
#include "config/config_name.h"
#include "config/load_internal.h"

static const struct place command_line = { 0, 0 };

/* Options of mount(8) and fstab that make no difference: every mount is read-only, with nosuid,
 * nodev and default_permissions, and has no times of access. mount(8) itself adds rw, dev and suid.
 */
static const char *const harmless[] = {
	"rw",	 "ro",	    "dev",	"nodev",      "suid",	  "nosuid",
	"atime", "noatime", "relatime", "norelatime", "diratime", "nodiratime",
	"auto",	 "noauto",  "nouser",	"_netdev",    "nofail",	  "default_permissions",
};
static const char *const harmless_prefixes[] = { "fsname=", "subtype=", "comment=", "x-" };

/* Options of mount(8) that are an option of ours under another name. */
static const struct {
	const char *name, *option;
} synonyms[] = {
	{ "exec", "noexec=false" },
	{ "user", "noexec" }, /* mount(8): unless exec follows */
	{ "users", "noexec" },
	{ "owner", "noexec" },
};

static const char *resolve(const char *option)
{
	for (size_t i = 0; i < ARRAY_SIZE(synonyms); i++) {
		if (strcmp(option, synonyms[i].name) == 0)
			return synonyms[i].option;
	}
	return option;
}

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

/* Finds the row for `key` of -o, and the block that it sets. NULL: the key is unknown. */
static const struct option_spec *find_option(struct loader *loader, const char *key,
					     struct block **ret)
{
	struct block *const blocks[] = { &loader->command_root, &loader->command };

	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		const struct option_spec *spec = option_find(blocks[i]->options.table, key);
		if (spec && option_is_for_command_line(spec)) {
			*ret = blocks[i];
			return spec;
		}
	}
	return NULL;
}

static void refuse_option(struct loader *loader, const char *option, const char *key)
{
	const struct option_table *const tables[] = { &config_term_table, &config_root_table };
	struct nearest nearest = NEAREST_INIT(key);
	struct block *ignored = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct option_spec *spec = tables[i]->rows; spec->name; spec++) {
			if (find_option(loader, spec->name, &ignored))
				nearest_consider(&nearest, spec->name);
		}
	}
	if (nearest.found)
		problem_add(&loader->problems, command_line, NULL,
			    "unknown option -o \"%s\"; did you mean \"%s\"?", option,
			    nearest.found);
	else
		problem_add(&loader->problems, command_line, NULL, "unknown option -o \"%s\"",
			    option);
}

static void load_command_option(struct loader *loader, const char *option)
{
	_cleanup_free_ char *key = strdup(option);
	struct block *block = NULL;
	struct err err = ERR_INIT;

	if (!key) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	char *value = strchr(key, '=');
	if (value)
		*value++ = '\0';
	const struct option_spec *spec = find_option(loader, key, &block);
	const char *text = value ? value : "true";
	if (!spec)
		refuse_option(loader, option, key);
	else if (!value && spec->type != OPTION_BOOL)
		problem_add(&loader->problems, command_line, NULL,
			    "option -o \"%s\" needs a value: %s=…", key, key);
	else if (options_set_texts(&block->options, spec, &text, 1, &err) < 0)
		problem_add(&loader->problems, command_line, NULL, "-o %s", err.msg);
}

void load_command_options(struct loader *loader)
{
	for (const char *const *option = loader->request->options; option && *option; option++) {
		if (strcmp(*option, "remount") == 0)
			problem_add(&loader->problems, command_line, NULL,
				    "-o remount: change the configuration, and then run \"rpt "
				    "upgrade\"; flags of the mount alone change with \"mount -i -o "
				    "remount,bind,…\"");
		else if (!is_harmless(*option))
			load_command_option(loader, resolve(*option));
	}
}

static const struct source_type *type_of_url(const struct loader *loader, const char *url)
{
	size_t len = strcspn(url, ":");

	if (strncmp(url + len, "://", 3) != 0)
		return NULL;
	for (const struct source_type *const *type = loader->request->types; *type; type++) {
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
	for (const struct source_type *const *type = loader->request->types; *type; type++) {
		for (const char *const *scheme = (*type)->url_schemes; scheme && *scheme;
		     scheme++) {
			int n = snprintf(ret + used, size - used, "%s%s://", used ? ", " : "",
					 *scheme);
			if (n > 0 && (size_t)n < size - used)
				used += (size_t)n;
		}
	}
}

static void load_url(struct loader *loader, struct draft *draft, const struct source_type *type,
		     const char *url)
{
	struct block block = { .term = draft->term.name, .kind = type->name };
	void *values = pool_alloc(loader->pool, type->options->size);
	struct err err = ERR_INIT;

	if (!values) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	options_init(&block.options, type->options, values, load_source_defaults(loader, type),
		     loader->pool);
	if (type->from_url(&block.options, url, &err) < 0)
		problem_add(&loader->problems, command_line, draft->term.name, "%s: %s", type->name,
			    err.msg);
	else
		load_add_source(loader, draft, type, &block, command_line);
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
	if (!name) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	struct draft *draft = load_new_draft(loader, name, command_line);
	if (!draft)
		return;
	if (name_check(name, &err) < 0)
		problem_add(&loader->problems, command_line, name, "%s", err.msg);
	const struct source_type *type = type_of_url(loader, url);
	if (!type) {
		/* Do not print the URL: it may contain a password. */
		list_schemes(loader, schemes, sizeof(schemes));
		problem_add(&loader->problems, command_line, name,
			    "its URL does not begin with one of: %s", schemes);
		return;
	}
	load_url(loader, draft, type, url);
}

void load_command_terms(struct loader *loader)
{
	for (const char *const *term = loader->request->terms; term && *term; term++)
		load_command_term(loader, *term);
}
