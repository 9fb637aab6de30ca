#include "config/show.h"

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
