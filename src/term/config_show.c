/*
 * config_show: the effective configuration as a file that loads to the same.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "term/config.h"

/* In double quotes, as libconfuse reads it: "${" would begin a variable. */
static void show_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\' || c == '$')
			fprintf(out, "\\%c", c);
		else if (c == '\n')
			fputs("\\n", out);
		else if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void show_string(const char *indent, const char *name, const char *text, FILE *out)
{
	fprintf(out, "%s%s = ", indent, name);
	show_quoted(text, out);
	fputc('\n', out);
}

/* In the largest unit that needs no fraction. */
static void show_duration(const char *indent, const char *name, int64_t ms, FILE *out)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {
		{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
	};
	size_t i = ms == 0 ? ARRAY_SIZE(units) - 1 : 0;

	while (ms % units[i].ms != 0)
		i++;
	fprintf(out, "%s%s = %" PRId64 "%s\n", indent, name, ms / units[i].ms, units[i].name);
}

static void show_size(const char *indent, const char *name, uint64_t bytes, FILE *out)
{
	static const char *const units[] = { "", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	while (bytes > 0 && bytes % 1024 == 0 && i + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		i++;
	}
	fprintf(out, "%s%s = %" PRIu64 "%s\n", indent, name, bytes, units[i]);
}

static const char *bool_name(bool value)
{
	return value ? "true" : "false";
}

static const char *failover_name(enum config_failover failover)
{
	switch (failover) {
	case FAILOVER_NEWER:
		return "newer";
	case FAILOVER_ANY:
		return "any";
	}
	return "newer";
}

static const char *backwards_name(enum config_backwards backwards)
{
	switch (backwards) {
	case BACKWARDS_ACCEPT:
		return "accept";
	case BACKWARDS_CONFIRM:
		return "confirm";
	case BACKWARDS_REFUSE:
		return "refuse";
	}
	return "accept";
}

static const char *on_delete_name(enum config_on_delete on_delete)
{
	switch (on_delete) {
	case ON_DELETE_KEEP:
		return "keep";
	case ON_DELETE_REMOVE:
		return "remove";
	}
	return "keep";
}

static const char *on_expire_name(enum config_on_expire on_expire)
{
	switch (on_expire) {
	case ON_EXPIRE_KEEP:
		return "keep";
	case ON_EXPIRE_HIDE:
		return "hide";
	}
	return "keep";
}

/* Of a secret "Name: value", as headers are, the name may be seen; without it the file would not
 * load. */
static void show_secret(const char *text, FILE *out)
{
	size_t len = 0;

	while (isalnum((unsigned char)text[len]) || text[len] == '-' || text[len] == '_')
		len++;
	if (len > 0 && text[len] == ':')
		fprintf(out, "\"%.*s: ***\"", (int)len, text);
	else
		fputs("\"***\"", out);
}

static void show_list(const struct option_spec *spec, const char *const *list, bool is_masked,
		      FILE *out)
{
	if (!*list)
		return;
	fprintf(out, "\t\t%s = { ", spec->name);
	for (const char *const *element = list; *element; element++) {
		if (element != list)
			fputs(", ", out);
		if (is_masked)
			show_secret(*element, out);
		else
			show_quoted(*element, out);
	}
	fputs(" }\n", out);
}

static void show_source(const struct source *source, enum config_secrets secrets, FILE *out)
{
	fprintf(out, "\t%s {\n", source->type->name);
	for (const struct option_spec *spec = source->type->options; spec->name; spec++) {
		bool is_masked = spec->secret && secrets == CONFIG_SECRETS_MASKED;

		if (spec->type == OPTION_STRINGS) {
			show_list(spec, options_strings(source->options, spec->name, NULL),
				  is_masked, out);
			continue;
		}
		const char *text = options_text(source->options, spec->name);
		if (text && is_masked)
			show_string("\t\t", spec->name, "***", out);
		else if (text && (spec->type == OPTION_STRING || spec->type == OPTION_CUSTOM))
			show_string("\t\t", spec->name, text, out);
		else if (text)
			fprintf(out, "\t\t%s = %s\n", spec->name, text);
	}
	fputs("\t}\n", out);
}

static void show_term(const struct term_config *term, enum config_secrets secrets, FILE *out)
{
	fputs("\nterm ", out);
	show_quoted(term->name, out);
	fputs(" {\n", out);
	if (term->refresh_interval_ms == CONFIG_NEVER)
		fputs("\trefresh_interval = never\n", out);
	else
		show_duration("\t", "refresh_interval", term->refresh_interval_ms, out);
	fprintf(out, "\tlazy_init = %s\n", bool_name(term->lazy_init));
	if (term->alias)
		show_string("\t", "alias", term->alias, out);
	show_size("\t", "min_size", term->min_size_bytes, out);
	show_size("\t", "max_size", term->max_size_bytes, out);
	if (term->max_stale_ms)
		show_duration("\t", "max_stale", term->max_stale_ms, out);
	fprintf(out, "\ton_expire = %s\n", on_expire_name(term->on_expire));
	fprintf(out, "\tmode = %04o\n\tuser = %u\n\tgroup = %u\n", (unsigned)term->mode,
		(unsigned)term->user, (unsigned)term->group);
	fprintf(out, "\tfailover = %s\n\tbackwards = %s\n\ton_delete = %s\n\thistory = %u\n",
		failover_name(term->failover), backwards_name(term->backwards),
		on_delete_name(term->on_delete), term->history);
	for (size_t i = 0; i < term->n_sources; i++)
		show_source(&term->sources[i], secrets, out);
	fputs("}\n", out);
}

void config_show(const struct config *config, enum config_secrets secrets, FILE *out)
{
	if (config->mountpoint)
		show_string("", "mountpoint", config->mountpoint, out);
	if (config->store)
		show_string("", "store", config->store, out);
	show_duration("", "start_timeout", config->start_timeout_ms, out);
	fprintf(out, "allow_other = %s\n", bool_name(config->allow_other));
	if (config->user)
		show_string("", "user", config->user, out);
	fprintf(out, "sandbox = %s\n", bool_name(config->sandbox));
	for (size_t i = 0; i < config->n_terms; i++)
		show_term(&config->terms[i], secrets, out);
}
