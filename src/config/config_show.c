/*
 * config_show: the effective configuration as a file that loads to the same.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "config/config.h"

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
		/* A fetcher may tell a default from the same value that somebody has set. */
		if (!text || (secrets == CONFIG_SECRETS_SHOWN &&
			      !options_is_set(source->options, spec->name)))
			continue;
		if (is_masked)
			show_string("\t\t", spec->name, "***", out);
		else if (spec->type == OPTION_STRING || spec->type == OPTION_CUSTOM)
			show_string("\t\t", spec->name, text, out);
		else
			fprintf(out, "\t\t%s = %s\n", spec->name, text);
	}
	fputs("\t}\n", out);
}

static void show_interval(int64_t ms, FILE *out)
{
	if (ms == CONFIG_NEVER)
		fputs("\trefresh_interval = never\n", out);
	else
		show_duration("\t", "refresh_interval", ms, out);
}

/* Those of the options that always have a value; usual: what has this one need not be told. */
static void show_values(const struct term_config *term, const struct term_config *usual, FILE *out)
{
	if (!usual || usual->refresh_interval_ms != term->refresh_interval_ms)
		show_interval(term->refresh_interval_ms, out);
	if (!usual || usual->lazy_init != term->lazy_init)
		fprintf(out, "\tlazy_init = %s\n", bool_name(term->lazy_init));
	if (!usual || usual->min_size_bytes != term->min_size_bytes)
		show_size("\t", "min_size", term->min_size_bytes, out);
	if (!usual || usual->max_size_bytes != term->max_size_bytes)
		show_size("\t", "max_size", term->max_size_bytes, out);
	if (!usual || usual->prewarm_limit_bytes != term->prewarm_limit_bytes)
		show_size("\t", "prewarm_limit", term->prewarm_limit_bytes, out);
	if (!usual || usual->on_expire != term->on_expire)
		fprintf(out, "\ton_expire = %s\n", on_expire_name(term->on_expire));
	if (!usual || usual->mode != term->mode)
		fprintf(out, "\tmode = %04o\n", (unsigned)term->mode);
	if (!usual || usual->user != term->user)
		fprintf(out, "\tuser = %u\n", (unsigned)term->user);
	if (!usual || usual->group != term->group)
		fprintf(out, "\tgroup = %u\n", (unsigned)term->group);
	if (!usual || usual->failover != term->failover)
		fprintf(out, "\tfailover = %s\n", failover_name(term->failover));
	if (!usual || usual->backwards != term->backwards)
		fprintf(out, "\tbackwards = %s\n", backwards_name(term->backwards));
	if (!usual || usual->on_delete != term->on_delete)
		fprintf(out, "\ton_delete = %s\n", on_delete_name(term->on_delete));
	if (!usual || usual->history != term->history)
		fprintf(out, "\thistory = %u\n", term->history);
}

static void show_term(const struct term_config *term, const struct term_config *usual,
		      enum config_secrets secrets, FILE *out)
{
	fputs("\nterm ", out);
	show_quoted(term->name, out);
	fputs(" {\n", out);
	if (term->alias)
		show_string("\t", "alias", term->alias, out);
	show_values(term, usual, out);
	if (term->max_stale_ms)
		show_duration("\t", "max_stale", term->max_stale_ms, out);
	for (size_t i = 0; i < term->n_sources; i++)
		show_source(&term->sources[i], secrets, out);
	fputs("}\n", out);
}

/* What the first term has, so that others are short: workers load this while readers wait. */
static const struct term_config *show_defaults(const struct config *config, FILE *out)
{
	if (!config->n_terms)
		return NULL;
	fputs("\ndefaults {\n", out);
	show_values(&config->terms[0], NULL, out);
	fputs("}\n", out);
	return &config->terms[0];
}

const char *config_publish_mode_name(enum config_publish_mode mode)
{
	return mode == PUBLISH_NOTIFY ? "notify" : "auto";
}

void config_show(const struct config *config, enum config_secrets secrets, FILE *out)
{
	const struct term_config *usual = NULL;

	if (config->mountpoint)
		show_string("", "mountpoint", config->mountpoint, out);
	if (config->store)
		show_string("", "store", config->store, out);
	show_duration("", "start_timeout", config->start_timeout_ms, out);
	fprintf(out, "allow_other = %s\n", bool_name(config->allow_other));
	if (config->user)
		show_string("", "user", config->user, out);
	fprintf(out, "sandbox = %s\n", bool_name(config->sandbox));
	fprintf(out, "publish_mode = %s\n", config_publish_mode_name(config->publish_mode));
	show_size("", "prewarm_total", config->prewarm_total_bytes, out);
	if (secrets == CONFIG_SECRETS_SHOWN)
		usual = show_defaults(config, out);
	for (size_t i = 0; i < config->n_terms; i++)
		show_term(&config->terms[i], usual, secrets, out);
}
