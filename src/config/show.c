#include "config/show.h"

#include "base/util.h"

static void show_values(const struct option_table *table, const void *values, const char *indent,
			FILE *out)
{
	for (const struct option_spec *spec = table->rows; spec->name; spec++) {
		if (!option_is_set(spec, values))
			continue;
		fprintf(out, "%s%s = ", indent, spec->name);
		option_show(spec, values, out);
		fputc('\n', out);
	}
}

static void show_term(const struct term_config *term, FILE *out)
{
	fputs("\nterm ", out);
	option_show_quoted(term->name, out);
	fputs(" {\n", out);
	show_values(&config_term_table, term, "\t", out);
	for (size_t i = 0; i < term->n_sources; i++) {
		const struct source *source = &term->sources[i];
		fprintf(out, "\t%s {\n", source->type->name);
		show_values(source->type->options, source->options, "\t\t", out);
		fputs("\t}\n", out);
	}
	fputs("}\n", out);
}

void config_show(const struct config *config, FILE *out)
{
	show_values(&config_root_table, config, "", out);
	for (size_t i = 0; i < config->n_terms; i++)
		show_term(&config->terms[i], out);
}

void config_show_help(FILE *out)
{
	const struct option_table *const tables[] = { &config_root_table, &config_term_table };

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct option_spec *spec = tables[i]->rows; spec->name; spec++) {
			if (!option_is_for_command_line(spec) ||
			    (i > 0 && option_find(tables[0], spec->name)))
				continue;
			fprintf(out, "    %-17s %s", spec->name, spec->help);
			if (spec->default_text)
				fprintf(out, " (%s)", spec->default_text);
			fputc('\n', out);
		}
	}
}

static void show_table(const char *name, const struct option_table *table, FILE *out)
{
	static const char *const types[] = {
		[OPTION_STRING] = "string", [OPTION_STRINGS] = "list",
		[OPTION_BOOL] = "bool",	    [OPTION_NUMBER] = "number",
		[OPTION_WORD] = "word",	    [OPTION_DURATION] = "duration",
		[OPTION_SIZE] = "size",	    [OPTION_MODE] = "mode",
		[OPTION_USER] = "user",	    [OPTION_GROUP] = "group",
	};
	static const char *const roles[] = {
		[OPTION_NO_ROLE] = "-",
		[OPTION_IDENTITY] = "identity",
		[OPTION_JUDGE] = "judge",
		[OPTION_MANNER] = "manner",
	};

	for (const struct option_spec *spec = table->rows; spec->name; spec++)
		fprintf(out, "%s\t%s\t%s\t%s\t%s\n", name, spec->name, types[spec->type],
			roles[spec->role], spec->default_text ? spec->default_text : "-");
}

void config_show_tables(const struct source_type *const *types, FILE *out)
{
	show_table("root", &config_root_table, out);
	show_table("term", &config_term_table, out);
	for (; *types; types++)
		show_table((*types)->name, (*types)->options, out);
}
